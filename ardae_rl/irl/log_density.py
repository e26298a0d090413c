"""Log-density ln π(a|s) of the policies of SB3 algorithms, whatever their kind."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.squashed import clip_inside_bounds, log_half_range, log_tanh_slope, pre_tanh_actions


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
    :param margin: Actions of squashed policies are clipped to this fraction of the half-range inside their bounds,
        because at the bounds the density of a squashed Gaussian is zero or infinite.
    :raises ValueError: For a policy without a density.
    """
    policy: Any = model.policy
    if isinstance(policy, ActorCriticPolicy):
        flat = actions.flatten() if isinstance(model.action_space, spaces.Discrete) else actions.flatten(1)
        log_prob: th.Tensor = policy.evaluate_actions(observations, flat)[1]
        return log_prob
    space = model.action_space
    if not has_density(model) or not isinstance(space, spaces.Box):
        raise ValueError(
            "`generator` must have a policy with a density (SAC, SACNF, SACARDAE, TQC, CrossQ, PPO, A2C or TRPO), got "
            f"{type(model).__name__}"
        )
    actions = clip_inside_bounds(actions, space, margin)
    if hasattr(policy, "log_prob"):  # SACNF and SACARDAE, per unit of the environment's range
        in_range: th.Tensor = policy.log_prob(observations, actions)
        return in_range + log_half_range(space, in_range.device)
    actor = policy.actor
    mean, log_std, kwargs = actor.get_action_dist_params(observations)
    if kwargs:  # state-dependent exploration
        distribution = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution
    else:
        distribution = DiagGaussianDistribution(mean.shape[-1]).proba_distribution(mean, log_std).distribution
    pre_tanh = pre_tanh_actions(actions, space)
    gaussian: th.Tensor = distribution.log_prob(pre_tanh).sum(-1)
    return gaussian - log_tanh_slope(pre_tanh)
