"""The correction of the estimated log-density: a known error, wide bounds, and its places in the policy."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch as th

from ardae_rl import SACARDAE
from ardae_rl.sac_ardae.bounds import gaussian_entropy
from ardae_rl.sac_ardae.correction import DensityCorrection
from ardae_rl.sac_ardae.density import EncodedStates
from ardae_rl.sac_ardae.sac_ardae import CORRECTION_INTERVAL
from ardae_rl.sac_ardae.whitening import AffineFrame
from tests.sac_ardae.small import make

NOISE = 0.3


class NormalActor:
    """Actions before tanh are 2 ε + 2 c ε', so they are N(0, 1 + c²) in the frame whose factor is 2."""

    output_noise = NOISE

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def sample_noise(self, embedding: th.Tensor, n_samples: int) -> th.Tensor:
        return th.randn(len(embedding), n_samples, self.dim)

    def generate(self, embedding: th.Tensor, noise: th.Tensor) -> th.Tensor:
        return 2 * noise

    def add_output_noise(self, outputs: th.Tensor, frame: AffineFrame) -> th.Tensor:
        return outputs + 2 * NOISE * th.randn_like(outputs)


class WrongEstimator:
    """The log-density of N(0, 1 + c²), plus an error."""

    def __init__(self, error: float) -> None:
        self.error = error

    def log_prob(self, x: th.Tensor, context: th.Tensor) -> th.Tensor:
        dim, variance = x.shape[-1], 1 + NOISE**2
        return -gaussian_entropy(dim, variance) - 0.5 * (x.square().sum(-1) / variance - dim) + self.error


def correct(dim: int, error: float) -> DensityCorrection:
    th.manual_seed(0)
    correction = DensityCorrection()
    state = EncodedStates(
        th.zeros(1, 1), th.zeros(1, 1), th.zeros(1, 1), AffineFrame(th.zeros(1, 1, 1), 2 * th.eye(dim)[None])
    )
    actor, estimator = NormalActor(dim), WrongEstimator(error)
    for _ in range(60):
        correction.update(actor, estimator, state)  # type: ignore[arg-type]
    return correction


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("error", [-0.4, 0.0, 0.2])
def test_known_error(dim: int, error: float) -> None:
    correction = correct(dim, error)
    assert correction.gap < 0.3
    assert float(correction.offset) == pytest.approx(-error, abs=0.02)


def test_known_error_in_six_dimensions() -> None:
    """Where the middle of the bounds is 0.1 nats too low; the standard error of the mean is 0.03."""
    correction = correct(6, 0.2)
    assert 1 < correction.gap < 2
    assert float(correction.offset) == pytest.approx(-0.2, abs=0.06)


def test_first_updates_count_equally() -> None:
    """Ten with an error of 1, then ten without."""
    th.manual_seed(0)
    correction = DensityCorrection()
    frame = AffineFrame(th.zeros(1, 1, 1), 2 * th.eye(1)[None])
    state = EncodedStates(th.zeros(1, 1), th.zeros(1, 1), th.zeros(1, 1), frame)
    for error in [1.0] * 10 + [0.0] * 10:
        correction.update(NormalActor(1), WrongEstimator(error), state)  # type: ignore[arg-type]
    assert float(correction.error) == pytest.approx(0.5, abs=0.05)


def test_wide_bounds_correct_nothing() -> None:
    correction = correct(17, -0.4)
    assert correction.gap > 10
    assert correction.offset == 0


def test_offset_falls_linearly_with_the_gap() -> None:
    correction = DensityCorrection()
    correction.error.fill_(-0.5)
    for gap, share in ((0.1, 1), (2.0, 1), (2.5, 0.5), (3.5, 0)):
        correction.gap.fill_(gap)
        assert float(correction.offset) == pytest.approx(0.5 * share)


def test_log_densities_of_the_policy_have_the_offset() -> None:
    model = make().learn(10)
    obs, actions = th.zeros(2, 3), th.tensor([[0.1], [0.5]])
    before = copy.deepcopy(model.policy)
    assert before.correction is not None and model.policy.correction is not None
    before.correction.error.zero_()
    model.policy.correction.error.fill_(-0.25)
    model.policy.correction.gap.zero_()
    th.testing.assert_close(model.policy.log_prob(obs, actions), before.log_prob(obs, actions) + 0.25)


def test_every_use_of_the_density_in_a_gradient_step_has_the_offset() -> None:
    """The entropies of targets and actor, which the same random numbers give, fall by the offset."""
    model = make().learn(12)
    correction, buffer = model.policy.correction, model.replay_buffer
    assert correction is not None and buffer is not None
    batch = buffer.sample(8)
    correction.gap.zero_()
    entropies = []
    for error in (0.0, -0.25):
        correction.error.fill_(error)
        th.manual_seed(0)
        _, _, target_metrics = model.target_q_values(batch)
        _, actor_metrics, _ = model._actor_loss(model.policy.encode_states(batch.observations), th.zeros(()))
        sampled = model.policy.entropy(batch.observations, n_samples=4).mean()
        entropies.append(th.stack([target_metrics["entropy"], actor_metrics["entropy"], sampled]))
    th.testing.assert_close(entropies[1], entropies[0] - 0.25)


def test_training_updates_it_and_files_keep_it(tmp_path: Path) -> None:
    model = make().learn(12)
    model.train(2 * CORRECTION_INTERVAL - model._n_updates, 8)
    correction = model.policy.correction
    assert correction is not None and correction.average.count == 2, "at the first gradient step, and an interval later"
    assert 0 < correction.gap < 1 and correction.error != 0
    model.save(tmp_path / "model")
    loaded = SACARDAE.load(tmp_path / "model").policy.correction
    assert loaded is not None
    assert th.equal(loaded.error, correction.error) and th.equal(loaded.gap, correction.gap)


@pytest.mark.parametrize(
    "policy_kwargs",
    [{"output_noise": 0.0}, {"entropy": "distance"}],
)
def test_policies_without_noise_or_density_have_none(policy_kwargs: dict[str, Any]) -> None:
    assert make(policy_kwargs=policy_kwargs).policy.correction is None
