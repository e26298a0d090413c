"""Log-density ln π(a|s) of the policies of SB3 algorithms, whatever their kind."""

import math
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.squashed import clip_inside_bounds, log_half_range, log_tanh_slope, scale_actions


def has_density(model: BaseAlgorithm) -> bool:
    """Return whether :func:`policy_log_prob` can evaluate the model's policy."""
    policy = model.policy
    is_squashed_gaussian = hasattr(getattr(policy, "actor", None), "get_action_dist_params")
    return isinstance(policy, ActorCriticPolicy) or hasattr(policy, "log_prob") or is_squashed_gaussian


@th.no_grad()
def policy_log_prob(
    model: BaseAlgorithm, observations: PyTorchObs, actions: th.Tensor, margin: float = 1e-6
) -> th.Tensor:
    """Return ln π(a|s), shape (n,).

    The density of a squashed policy is per unit of actions rescaled to [-1, 1], the unit in which SB3 measures its
    entropy. It is exact for SAC, TQC, CrossQ, SACNF and on-policy algorithms; for SACARDAE it is the estimator's.

    :param model: Algorithm that holds the policy.
    :param observations: Observations as ``obs_to_tensor`` returns them.
    :param actions: Actions in the environment's range, shape (n, ...).
    :param margin: Width of the strip next to the bounds, as a fraction of the half-range, in which the density of a
        squashed policy is taken as constant, because it is zero or infinite at the bounds. For a squashed Gaussian it
        is the mean density of the strip; for other policies it is the density at the strip's inner edge.
    :raises ValueError: For a policy without a density.
    """
    return differentiable_log_prob(model, observations, actions, margin)


def differentiable_log_prob(
    model: BaseAlgorithm, observations: PyTorchObs, actions: th.Tensor, margin: float = 1e-6
) -> th.Tensor:
    """Return what :func:`policy_log_prob` returns, with a gradient unless the policy is of SACNF or SACARDAE."""
    policy: Any = model.policy
    if isinstance(policy, ActorCriticPolicy):
        flat = (
            actions.flatten() if isinstance(model.action_space, spaces.Discrete) else actions.reshape(len(actions), -1)
        )
        if isinstance(model.action_space, spaces.MultiBinary):
            flat = flat.float()
        log_prob: th.Tensor = policy.evaluate_actions(observations, flat)[1]
        return log_prob
    space = model.action_space
    if not has_density(model) or not isinstance(space, spaces.Box):
        raise ValueError(
            "`generator` must have a policy with a density (SAC, SACNF, SACARDAE, TQC, CrossQ, PPO, A2C or TRPO), got "
            f"{type(model).__name__}"
        )
    if hasattr(policy, "log_prob"):  # SACNF and SACARDAE, per unit of the environment's range
        in_range: th.Tensor = policy.log_prob(observations, clip_inside_bounds(actions, space, margin))
        return in_range + log_half_range(space, in_range.device)
    actor = policy.actor
    mean, log_std, kwargs = actor.get_action_dist_params(observations)
    if kwargs:  # state-dependent exploration
        gaussian = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution
    else:
        gaussian = DiagGaussianDistribution(mean.shape[-1]).proba_distribution(mean, log_std).distribution
    return squashed_gaussian_log_prob(gaussian, scale_actions(actions, space), margin)


def squashed_gaussian_log_prob(gaussian: th.distributions.Normal, scaled: th.Tensor, margin: float) -> th.Tensor:
    """Return the log-density of a Gaussian's tanh, shape (n,), with the mean density in the strips at the bounds.

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
