"""Regularization of discriminators: settings, and the terms that they add to the loss."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from ardae_rl.common.checks import check_between, check_choice, check_min, check_positive
from ardae_rl.irl.transitions import Transitions

PENALTY_POINTS = ("mixture", "samples", "demonstrations")
PENALTY_INPUTS = ("all", "state")


class Points(NamedTuple):
    """Transitions as the reward network sees them, and ln q: tensors of n rows that can be mixed."""

    features: th.Tensor
    actions: th.Tensor
    next_features: th.Tensor
    terminated: th.Tensor
    log_q: th.Tensor


Reward = Callable[[Points], th.Tensor]


@dataclass(frozen=True)
class Regularization:
    """Settings of a discriminator's regularization, which can be combined freely. By default there is none.

    Label smoothing, Mixup, the entropy bonus and normalized rewards change the optimal discriminator or the scale of
    the reward, so that AIRL's reward no longer corresponds to a temperature of 1. A gradient penalty or weight decay
    keeps the form f - ln q of the logits, but shrinks f below its optimum. Only the proximal penalty vanishes at
    convergence.

    For images, Mixup and the gradient penalty act on the extracted features; the features extractor itself is not
    regularized.

    References: Gulrajani et al. (2017), Improved training of Wasserstein GANs, https://arxiv.org/abs/1704.00028 (the
    gradient penalty on mixtures, with center 1); Zhang et al. (2018), mixup, https://arxiv.org/abs/1710.09412; Orsini
    et al. (2021), What matters for adversarial imitation learning?, https://arxiv.org/abs/2106.00672.

    Example:

    >>> from ardae_rl.irl import GAIL
    >>> from ardae_rl.irl.regularization import Regularization
    >>> settings = {"gradient_penalty": 10.0, "penalty_center": 1.0}
    >>> Regularization(**settings).penalty_points
    'mixture'
    >>> model = GAIL("MlpPolicy", "Pendulum-v1", discriminator_kwargs={"regularization": settings})

    :param gradient_penalty: Weight of the mean of (norm of the reward's gradient - ``penalty_center``)².
    :param penalty_center: Target norm of the gradient: 0, or 1 as for a Wasserstein distance.
    :param penalty_points: Where the gradient is penalized: "mixture" (between demonstrations and samples), "samples" or
        "demonstrations".
    :param penalty_inputs: Inputs with respect to which the gradient is taken: "all" or "state".
    :param mixup: Parameter α of Mixup, 0 for none: the discriminator is trained on mixtures of demonstrations and
        samples, whose proportions from Beta(α, α) are also its targets. ln q is mixed like the inputs. The loss has one
        term per mixture instead of two per pair, and thus about half its weight relative to the other terms.
    :param label_smoothing: Target for samples; the target for demonstrations is 1 minus this.
    :param entropy_bonus: Weight of the mean entropy of the discriminator's decisions.
    :param normalize_rewards: Whether to divide the generator's rewards by a running average, over rounds, of their
        standard deviation among the samples.
    :param proximal_weight: Initial weight of the mean squared change of the reward in a round; 0 for none.
    :param proximal_target: Mean squared change of the reward per round that the adaptation of the weight aims at.
    :raises ValueError: For arguments out of range.
    """

    gradient_penalty: float = 0.0
    penalty_center: float = 0.0
    penalty_points: str = "mixture"
    penalty_inputs: str = "all"
    mixup: float = 0.0
    label_smoothing: float = 0.0
    entropy_bonus: float = 0.0
    normalize_rewards: bool = False
    proximal_weight: float = 0.0
    proximal_target: float = 0.1

    def __post_init__(self) -> None:
        for name in ("gradient_penalty", "penalty_center", "mixup", "entropy_bonus", "proximal_weight"):
            check_min(name, getattr(self, name), 0)
        check_choice("penalty_points", self.penalty_points, PENALTY_POINTS)
        check_choice("penalty_inputs", self.penalty_inputs, PENALTY_INPUTS)
        check_between("label_smoothing", self.label_smoothing, 0, 0.5)
        check_positive("proximal_target", self.proximal_target)

    def classification(self, logits: Reward, demos: Points, samples: Points) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Return the loss of classifying demonstrations and samples, with Mixup, smoothing and entropy bonus.

        :param logits: Function that returns logit D of points, shape (n,).
        :return: The loss, and the logits of demonstrations and samples.
        """
        smoothing = self.label_smoothing
        if self.mixup > 0:
            share = th.distributions.Beta(self.mixup, self.mixup).sample(demos.log_q.shape).to(demos.log_q)
            decisions = logits(interpolate(demos, samples, share))
            loss = cross_entropy(decisions, smoothing + (1 - 2 * smoothing) * share)
            with th.no_grad():
                demo_logits, sample_logits = logits(demos), logits(samples)
        else:
            demo_logits, sample_logits = logits(demos), logits(samples)
            targets = th.full_like(demo_logits, 1 - smoothing)
            loss = cross_entropy(demo_logits, targets) + cross_entropy(sample_logits, 1 - targets)
            decisions = th.cat([demo_logits, sample_logits])
        if self.entropy_bonus > 0:
            loss = loss - self.entropy_bonus * decision_entropy(decisions).mean()
        return loss, demo_logits, sample_logits

    def penalty(self, reward: Reward, demos: Points, samples: Points) -> th.Tensor:
        """Return the gradient penalty, without its weight.

        :param reward: Function that returns the reward of points, shape (n,).
        """
        points = {"samples": samples, "demonstrations": demos}.get(self.penalty_points)
        if points is None:
            points = interpolate(demos, samples, th.rand_like(demos.log_q))
        squared_norm = squared_gradient(reward, points, self.penalty_inputs)
        if self.penalty_center == 0:
            return squared_norm.mean()
        return ((squared_norm + 1e-12).sqrt() - self.penalty_center).square().mean()


def decision_entropy(logits: th.Tensor) -> th.Tensor:
    """Return the entropy of the binary decision with probability D, in nats, shape (n,)."""
    return cross_entropy(logits, logits.sigmoid(), reduction="none")


def interpolate(demos: Points, samples: Points, share: th.Tensor) -> Points:
    """Return ``share`` × demonstrations + (1 - ``share``) × samples, row by row; ``share`` has shape (n,)."""

    def mix(demo: th.Tensor, sample: th.Tensor) -> th.Tensor:
        weight = share.reshape(-1, *([1] * (demo.dim() - 1)))
        return weight * demo + (1 - weight) * sample

    return Points(*(mix(*pair) for pair in zip(demos, samples, strict=True)))


def squared_gradient(reward: Reward, points: Points, inputs: str = "all") -> th.Tensor:
    """Return the squared norm of the reward's gradient at each point, shape (n,); it can be differentiated again.

    :param inputs: "all", or "state" for the gradient with respect to state and next state alone.
    """
    names = ("features", "next_features") if inputs == "state" else ("features", "actions", "next_features")
    leaves = {name: getattr(points, name).detach().requires_grad_() for name in names}
    value = reward(points._replace(**leaves))
    gradients = th.autograd.grad(value.sum(), list(leaves.values()), create_graph=True, allow_unused=True)
    norms = [gradient.square().sum(-1) for gradient in gradients if gradient is not None]
    return th.stack(norms).sum(0) if norms else th.zeros_like(value)


class ProximalPenalty(nn.Module):
    """Penalty on the change of the reward in a round of updates, with a weight that adapts to the size of the change.

    The loss of a round becomes L(r) + w E(r - r_old)². The weight is doubled after a round with a mean squared change
    above 1.5 times the target, and halved after one below the target divided by 1.5 (the rule of Schulman et al. 2017,
    Proximal policy optimization algorithms, https://arxiv.org/abs/1707.06347, Section 4). The generator can keep up
    with a reward that changes slowly.

    :param weight: Initial weight w.
    :param target: Target of the mean squared change of the reward per round.
    """

    weight: th.Tensor

    def __init__(self, weight: float, target: float) -> None:
        super().__init__()
        self.target = target
        self.register_buffer("weight", th.tensor(float(weight)))
        # In a list, so that it is not registered as a submodule
        self._previous: list[nn.Module] = []

    def start_round(self, reward_net: nn.Module) -> None:
        """Keep a copy of the reward network, including its features extractor."""
        self._previous = [copy.deepcopy(reward_net).eval().requires_grad_(False)]

    def change(self, rewards: th.Tensor, transitions: Transitions) -> th.Tensor:
        """Return the mean squared change of the rewards of transitions since the round began."""
        if not self._previous:
            raise RuntimeError("`start_round` must be called before `change`")
        (previous,) = self._previous
        return (rewards - previous(*transitions)).square().mean()

    @th.no_grad()
    def adapt(self, change: th.Tensor) -> None:
        """Adapt the weight to the mean squared change of a round."""
        factor = th.where(change > 1.5 * self.target, 2.0, th.where(change < self.target / 1.5, 0.5, 1.0))
        self.weight.mul_(factor).clamp_(1e-6, 1e6)
