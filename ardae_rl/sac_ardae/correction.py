"""Correction of the estimated log-density by its mean error, which samples of the policy itself reveal."""

import torch as th
from torch import nn

from ardae_rl.sac_ardae.actor import ImplicitActor
from ardae_rl.sac_ardae.bounds import mixture_log_densities
from ardae_rl.sac_ardae.density import EncodedStates
from ardae_rl.score import ARDAE
from ardae_rl.score.averages import RunningAverage

_N_COMPONENTS, _N_ACTIONS = 4096, 32
_MAX_GAP = 3.0  # in nats


class DensityCorrection(nn.Module):
    """Running mean of the error of the estimated log-density, to be subtracted in all states.

    An estimate p̂ that is normalized is too low on average, E ln p̂ = E ln p - KL(p || p̂), so entropies by it are too
    high. A policy with output noise is a mixture of normal distributions, and a mixture of finitely many of its
    components bounds E ln p from both sides (:func:`~ardae_rl.sac_ardae.bounds.mixture_log_densities`). Both bounds err
    by about the same amount, so their middle stands for E ln p. The error of the middle grows with their distance. The
    correction falls from 2 nats on and is zero from 3, as with many action dimensions.

    Each update takes the middle at 32 actions in one state, with 4096 components. That is noisy, so the mean spans 50
    updates.

    Example:

    >>> from ardae_rl import SACARDAE
    >>> model = SACARDAE("MlpPolicy", "Pendulum-v1", learning_starts=50).learn(60)
    >>> float(model.policy.correction.gap) < 1  # nats between the bounds in one action dimension
    True
    """

    error: th.Tensor
    gap: th.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.average = RunningAverage(horizon=50, share=1)
        self.register_buffer("error", th.zeros(()))
        self.register_buffer("gap", th.zeros(()))

    @property
    def offset(self) -> th.Tensor:
        """What to add to estimates of the log-density, a scalar."""
        return -self.error * (_MAX_GAP - self.gap).clamp(0, 1)

    @th.no_grad()
    def update(self, actor: ImplicitActor, estimator: ARDAE, state: EncodedStates) -> None:
        """Update the running means.

        :param actor: Actor with output noise.
        :param estimator: Estimator of its log-density.
        :param state: A state.
        """
        means = actor.generate(state.embedding, actor.sample_noise(state.embedding, _N_COMPONENTS))
        points = actor.add_output_noise(means[:, :_N_ACTIONS], state.frame)
        means, points = state.frame.to_local(means), state.frame.to_local(points)
        with_own, without_own = (x.mean() for x in mixture_log_densities(means, points, actor.output_noise))
        estimate = estimator.log_prob(points, state.features).mean()
        weight = self.average.next_weight()
        self.error.lerp_(estimate - 0.5 * (with_own + without_own), weight)
        self.gap.lerp_(with_own - without_own, weight)
