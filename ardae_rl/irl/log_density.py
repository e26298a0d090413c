"""ln π(a|s) of the policies of SB3's algorithms, whatever their kind."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.squashed import log_half_range, log_tanh_slope, pre_tanh_actions


def has_density(model: BaseAlgorithm) -> bool:
    """Whether :func:`policy_log_prob` knows the policy."""
    policy = model.policy
    gaussian = hasattr(getattr(policy, "actor", None), "get_action_dist_params")
    return isinstance(policy, ActorCriticPolicy) or hasattr(policy, "log_prob") or gaussian


@th.no_grad()
def policy_log_prob(
    model: BaseAlgorithm, observations: PyTorchObs, actions: th.Tensor, margin: float = 1e-6
) -> th.Tensor:
    """ln π(a|s), (n); of squashed policies per unit of actions in [-1, 1], in which their entropy is measured as well.

    Exact for SAC, TQC, CrossQ and SACNF, and for the on-policy algorithms; for SACARDAE as its estimator has it.

    :param observations: as ``obs_to_tensor`` gives them
    :param actions: in the environment's range, (n, ...)
    :param margin: of half that range, which squashed actions are kept off the bounds by: at the bounds themselves, the
        density of a squashed Gaussian is 0 or infinite
    :raises ValueError: for a policy without a density
    """
    policy: Any = model.policy
    if isinstance(policy, ActorCriticPolicy):
        acted = actions.flatten() if isinstance(model.action_space, spaces.Discrete) else actions.flatten(1)
        log_prob: th.Tensor = policy.evaluate_actions(observations, acted)[1]
        return log_prob
    space = model.action_space
    if not has_density(model) or not isinstance(space, spaces.Box):
        raise ValueError(
            f"generator={type(model).__name__}: its policy has no density; accepted are SAC, SACNF, SACARDAE, TQC, "
            "CrossQ, PPO, A2C and TRPO"
        )
    low, high = (th.as_tensor(bound, dtype=th.float32, device=actions.device) for bound in (space.low, space.high))
    actions = actions.clamp(low + 0.5 * margin * (high - low), high - 0.5 * margin * (high - low))
    if hasattr(policy, "log_prob"):  # ours
        own: th.Tensor = policy.log_prob(observations, actions)
        return own + log_half_range(space, own.device)
    actor = policy.actor
    mean, log_std, kwargs = actor.get_action_dist_params(observations)
    if kwargs:  # state-dependent exploration
        distribution = actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution
    else:
        distribution = DiagGaussianDistribution(mean.shape[-1]).proba_distribution(mean, log_std).distribution
    before = pre_tanh_actions(actions, space)
    gaussian: th.Tensor = distribution.log_prob(before).sum(-1)
    return gaussian - log_tanh_slope(before)
