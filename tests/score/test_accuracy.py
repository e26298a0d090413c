"""The estimator's errors on conditional targets with known score and density, in less time than the experiment."""

import pytest
import torch as th

from ardae_rl.score import ARDAE
from tests.oracles.targets import CONTEXT_DIM, Target


def errors(estimator: ARDAE, target: Target, updates: int) -> tuple[float, float, float]:
    """Train on a rotating target; return the relative squared score error, and bias and mean |error| of ln p."""
    generator = th.Generator().manual_seed(100)
    for update in range(updates):
        context = target.contexts(32, generator)
        estimator.update(target.sample(context, 16, update, generator), context)
    context = target.contexts(512, generator)
    x = target.sample(context, 16, updates, generator)
    log_prob, score = target.log_prob_and_score(x, context, updates)
    estimate, log_estimate = estimator.score_and_log_prob(x, context)
    error = log_estimate - log_prob
    score_error = (estimate - score).square().sum() / score.square().sum()
    return score_error.item(), error.mean().item(), error.abs().mean().item()


def test_two_dimensions_three_modes_briefly() -> None:
    th.manual_seed(0)
    score_error, bias, error = errors(ARDAE(2, CONTEXT_DIM), Target(2, 3), updates=500)
    assert score_error < 0.12
    assert abs(bias) < 0.25
    assert error < 0.45


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dim", "n_modes", "largest_bias", "largest_error"), [(2, 1, 0.1, 0.35), (2, 4, 0.1, 0.35), (5, 3, 0.3, 0.7)]
)
def test_full_training(dim: int, n_modes: int, largest_bias: float, largest_error: float) -> None:
    th.manual_seed(0)
    score_error, bias, error = errors(ARDAE(dim, CONTEXT_DIM), Target(dim, n_modes), updates=2500)
    assert score_error < 0.12
    assert abs(bias) < largest_bias
    assert error < largest_error
