"""Log-density ln π(a|s) of the policies of SB3 algorithms."""

import math
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.squashed import (
    action_bounds,
    clip_inside_bounds,
    log_half_range,
    log_tanh_slope,
    scale_actions,
)


def has_density(model: BaseAlgorithm) -> bool:
    """Return whether :func:`policy_log_prob` can evaluate the model's policy."""
    policy = model.policy
    return isinstance(policy, ActorCriticPolicy) or is_squashed_gaussian(policy) or hasattr(policy, "log_prob")


def is_squashed_gaussian(policy: BasePolicy) -> bool:
    """Return whether the actor is SAC's: a Gaussian that is squashed by tanh."""
    return hasattr(getattr(policy, "actor", None), "get_action_dist_params")


@th.no_grad()
def policy_log_prob(
    model: BaseAlgorithm, observations: PyTorchObs, actions: th.Tensor, margin: float = 1e-6
) -> th.Tensor:
    """Return ln π(a|s), shape (n,).

    The density of a squashed policy is that of actions rescaled to [-1, 1], as in SB3's entropy. It is exact for SAC,
    SACGaussian, TQC, CrossQ, SACNF and on-policy algorithms; for SACARDAE it is the estimator's. For a Gaussian that is
    not squashed, it is the density of the actions clipped to the environment's bounds, in the environment's units.

    :param model: Algorithm that holds the policy.
    :param observations: Observations as ``obs_to_tensor`` returns them.
    :param actions: Actions in the environment's range, shape (n, ...).
    :param margin: Width of the strip next to the bounds, as a fraction of the half-range, in which the density of a
        squashed or clipped policy is taken to be constant, because it is zero or infinite at the bounds. For Gaussians,
        the constant is the mean density of the strip; for SACNF and SACARDAE, it is the density at the strip's inner
        edge.
    :raises ValueError: For a policy without a density.
    """
    return differentiable_log_prob(model, observations, actions, margin)


def differentiable_log_prob(
    model: BaseAlgorithm, observations: PyTorchObs, actions: th.Tensor, margin: float = 1e-6
) -> th.Tensor:
    """Return ln π as :func:`policy_log_prob` does, but with a gradient, except for SACNF and SACARDAE."""
    policy: Any = model.policy
    if isinstance(policy, ActorCriticPolicy):
        return _actor_critic_log_prob(policy, observations, actions, margin)
    space = model.action_space
    if not has_density(model) or not isinstance(space, spaces.Box):
        raise ValueError(
            "`generator` must have a policy with a density (SAC, SACGaussian, SACNF, SACARDAE, TQC, CrossQ, PPO, A2C "
            f"or TRPO), got {type(model).__name__}"
        )
    if not is_squashed_gaussian(policy):  # SACNF and SACARDAE, whose density is in the environment's units
        in_range: th.Tensor = policy.log_prob(observations, clip_inside_bounds(actions, space, margin))
        return in_range + log_half_range(space, in_range.device)
    actor = policy.actor
    mean, log_std, kwargs = actor.get_action_dist_params(observations)
    if kwargs:  # state-dependent exploration
        gaussian = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution
    else:
        gaussian = DiagGaussianDistribution(mean.shape[-1]).proba_distribution(mean, log_std).distribution
    return squashed_gaussian_log_prob(gaussian, scale_actions(actions, space), margin)


def _actor_critic_log_prob(
    policy: ActorCriticPolicy, observations: PyTorchObs, actions: th.Tensor, margin: float
) -> th.Tensor:
    distribution, space = policy.get_distribution(observations), policy.action_space
    gaussian = distribution.distribution  # before tanh, if the policy is squashed
    if isinstance(space, spaces.Box) and isinstance(gaussian, th.distributions.Normal):
        if policy.squash_output:
            return squashed_gaussian_log_prob(gaussian, scale_actions(actions, space), margin)
        return clipped_gaussian_log_prob(gaussian, actions.reshape(len(actions), -1), space, margin)
    if isinstance(space, spaces.Box):
        actions = scale_actions(actions, space) if policy.squash_output else actions.reshape(len(actions), -1)
    elif isinstance(space, spaces.MultiBinary):
        actions = actions.float()
    elif isinstance(space, spaces.Discrete):
        actions = actions.flatten()
    log_prob: th.Tensor = distribution.log_prob(actions)
    return log_prob


def squashed_gaussian_log_prob(gaussian: th.distributions.Normal, scaled: th.Tensor, margin: float) -> th.Tensor:
    """Return the log-density of a tanh-squashed Gaussian, shape (n,), averaged over strips at the bounds.

    :param gaussian: Distribution before tanh, with independent dimensions.
    :param scaled: Actions in [-1, 1], shape (n, dim).
    :param margin: Width of the strips.
    """
    limit = 1 - margin
    pre_tanh = th.atanh(scaled.clamp(-limit, limit))
    inside = gaussian.log_prob(pre_tanh) - log_tanh_slope(pre_tanh.unsqueeze(-1))
    distance = math.atanh(limit) - scaled.sign() * gaussian.mean
    strip = th.special.log_ndtr(-distance / gaussian.stddev) - math.log(margin)
    return th.where(scaled.abs() > limit, strip, inside).sum(-1)


def clipped_gaussian_log_prob(
    gaussian: th.distributions.Normal, actions: th.Tensor, space: spaces.Box, margin: float
) -> th.Tensor:
    """Return the log-density of a Gaussian that is clipped to a box, shape (n,).

    Clipping puts probability mass on the bounds. Here it is spread over a strip next to each bound, where the density
    is constant.

    :param gaussian: Distribution of actions before clipping, with independent dimensions.
    :param actions: Clipped actions, shape (n, dim).
    :param space: The box.
    :param margin: Width of the strips as a fraction of the half-range.
    """
    low, high = action_bounds(space, actions.device)
    width = 0.5 * margin * (high - low)
    low, high = low + width, high - width
    lower = th.special.log_ndtr((low - gaussian.mean) / gaussian.stddev) - width.log()
    upper = th.special.log_ndtr((gaussian.mean - high) / gaussian.stddev) - width.log()
    inside = gaussian.log_prob(actions)
    return th.where(actions < low, lower, th.where(actions > high, upper, inside)).sum(-1)


def uniform_log_prob(model: BaseAlgorithm) -> float:
    """Return the log-density of uniformly random actions, in the units of :func:`policy_log_prob`."""
    space = model.action_space
    if isinstance(space, spaces.Discrete):
        return -math.log(space.n)
    assert isinstance(space, spaces.Box)
    is_clipped = isinstance(model.policy, ActorCriticPolicy) and not model.policy.squash_output
    in_scaled = -math.prod(space.shape) * math.log(2)
    return in_scaled - float(log_half_range(space, th.device("cpu"))) if is_clipped else in_scaled
