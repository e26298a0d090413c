"""Correction of the estimated log-density by its mean error, which samples of the policy itself reveal."""

import torch as th
from torch import nn

from ardae_rl.sac_ardae.actor import ImplicitActor
from ardae_rl.sac_ardae.bounds import extrapolated_log_density
from ardae_rl.sac_ardae.density import EncodedStates
from ardae_rl.score import ARDAE
from ardae_rl.score.averages import RunningAverage

_N_COMPONENTS, _N_ACTIONS = 4096, 32
_MAX_GAP = 3.0  # in nats


class DensityCorrection(nn.Module):
    """Running mean of the error of the estimated log-density, to be subtracted in all states.

    An estimate p̂ that is normalized is too low on average, E ln p̂ = E ln p - KL(p || p̂), so entropies computed from
    it are too high. A policy with output noise is a mixture of normal distributions, and samples of its components give
    an estimate of E ln p (:func:`~ardae_rl.sac_ardae.bounds.extrapolated_log_density`), whose error grows with the gap
    between its bounds. So the correction fades out as the gap grows from 2 to 3 nats, which happens with many action
    dimensions.

    Each update takes 32 actions in one state, and 4096 components. That is noisy, so the mean spans 50 updates.

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
        """Constant to add to estimates of the log-density, a scalar."""
        return -self.error * (_MAX_GAP - self.gap).clamp(0, 1)

    @th.no_grad()
    def update(self, actor: ImplicitActor, estimator: ARDAE, state: EncodedStates) -> None:
        """Update the running means.

        :param actor: Actor with output noise.
        :param estimator: Estimator of its log-density.
        :param state: A single state.
        """
        means = actor.generate(state.embedding, actor.sample_noise(state.embedding, _N_COMPONENTS))
        points = actor.add_output_noise(means[:, :_N_ACTIONS], state.frame)
        means, points = state.frame.to_local(means), state.frame.to_local(points)
        log_density, gap = extrapolated_log_density(means, points, actor.output_noise)
        error = estimator.log_prob(points, state.features) - log_density
        weight = self.average.next_weight()
        self.error.lerp_(error.mean(), weight)
        self.gap.lerp_(gap.mean(), weight)
