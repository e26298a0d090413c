"""Maximum likelihood of demonstrated actions, for behavioral cloning and to warm-start other algorithms."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import nn

from ardae_rl.common.checks import check_count, check_positive
from ardae_rl.common.training import MetricMeans
from ardae_rl.irl.log_density import differentiable_log_prob, is_squashed_gaussian
from ardae_rl.irl.transitions import Transitions, concatenate, select

_MARGIN = 0.01  # the discriminators' default `action_margin`


def clone_demonstrations(
    model: BaseAlgorithm,
    demos: Sequence[Transitions],
    n_updates: int,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
) -> float:
    """Fit the policy of a model to demonstrations by maximum likelihood.

    :param model: SB3 algorithm with a squashed Gaussian actor (SAC, SACGaussian, TQC, CrossQ), or an on-policy one.
    :param demos: Demonstrated transitions.
    :param n_updates: Number of gradient steps.
    :param batch_size: Number of transitions per gradient step.
    :param learning_rate: Learning rate of Adam.
    :return: Mean ln π of the demonstrated actions over the last tenth of the updates.
    :raises ValueError: For arguments out of range, and for a policy whose density has no gradient.
    """
    check_count("n_updates", n_updates)
    check_count("batch_size", batch_size)
    check_positive("learning_rate", learning_rate)
    optimizer = th.optim.Adam(_actor(model).parameters(), lr=learning_rate)
    transitions, means = concatenate(demos), MetricMeans()
    model.policy.set_training_mode(True)
    for update in range(n_updates):
        log_prob = likelihood_step(model, transitions, optimizer, batch_size)
        if update >= n_updates - max(1, n_updates // 10):
            means.add({"log_prob": log_prob})
    model.policy.set_training_mode(False)
    return means.finite(f"{n_updates} updates")["log_prob"]


def likelihood_step(
    model: BaseAlgorithm, transitions: Transitions, optimizer: th.optim.Optimizer, batch_size: int
) -> th.Tensor:
    """Take a gradient step on the mean of -ln π over a random batch, and return the mean ln π."""
    index = th.randint(len(transitions.actions), (batch_size,), device=transitions.actions.device)
    batch = select(transitions, index)
    log_prob = differentiable_log_prob(model, batch.observations, batch.actions, _MARGIN).mean()
    optimizer.zero_grad()
    (-log_prob).backward()
    optimizer.step()
    forget_distribution(model.policy)
    return log_prob.detach()


def forget_distribution(policy: BasePolicy) -> None:
    """Delete the last action distribution of an actor-critic policy, which can be neither copied nor pickled."""
    if isinstance(policy, ActorCriticPolicy):
        policy.action_dist.distribution = None  # type: ignore[assignment]


def _actor(model: BaseAlgorithm) -> nn.Module:
    policy = model.policy
    actor = policy if isinstance(policy, ActorCriticPolicy) else getattr(policy, "actor", None)
    if actor is None or not (policy is actor or is_squashed_gaussian(policy)):
        raise ValueError(
            "`generator` must have a Gaussian policy (SAC, SACGaussian, TQC, CrossQ) or be an on-policy algorithm to "
            f"clone demonstrations, got {type(model).__name__}"
        )
    return actor
