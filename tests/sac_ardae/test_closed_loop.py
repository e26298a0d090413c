"""Policy and estimator trained together on the one-step task of ``experiments.closed_loop`` with one mode."""

from collections.abc import Callable

import pytest

from experiments import closed_loop


@pytest.fixture
def train() -> Callable[..., dict[str, float]]:
    def run(n_updates: int, **arguments: int) -> dict[str, float]:
        model = closed_loop.make_model("one mode", seed=0, **arguments)
        assert len(list(model.updates(n_updates, check_every=n_updates))) == 1
        return closed_loop.compare_to_optimum(model, n_samples=20_000)

    return run


def test_finds_the_optimum_briefly(train: Callable[..., dict[str, float]]) -> None:
    """If the scores are zero, the policy collapses; with the wrong sign, it runs to the bounds; without training of the
    estimator, it stays a quarter too wide."""
    result = train(250, batch_size=64)
    assert result["total_variation"] < 0.16
    assert result["std_ratio"] == pytest.approx(1, abs=0.12)
    assert result["saturated"] < 0.02
    assert result["log_prob_minus_optimum"] == pytest.approx(0, abs=0.2)


@pytest.mark.slow
def test_finds_the_optimum(train: Callable[..., dict[str, float]]) -> None:
    result = train(1200)
    assert result["total_variation"] < 0.12
    assert result["std_ratio"] == pytest.approx(1, abs=0.1)
    assert result["saturated"] < 0.02
    assert result["log_prob_minus_optimum"] == pytest.approx(0, abs=0.1)


def test_the_generator_slows_down_as_in_training() -> None:
    model = closed_loop.make_model("one mode", seed=0, batch_size=8, score_warmup=1)
    list(model.updates(3, check_every=3))
    rates = [group["lr"] / 3e-4 for group in model.actor.optimizer.param_groups]
    assert rates == pytest.approx([1, 1 + 2 / (1 + 2 / 10_000)], rel=1e-6)


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        (0, "`updates` must be >= 1, got 0"),
        (500, "`updates` must be a multiple of 1000, after which there is a check, got 500"),
        (1500, "`updates` must be a multiple of 1000, after which there is a check, got 1500"),
    ],
)
def test_updates_end_with_a_check(updates: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        closed_loop.runs("quick", 1, updates=updates)


@pytest.mark.parametrize(
    ("budget", "updates", "expected"), [("smoke", None, 2), ("smoke", 3, 3), ("quick", 2000, 2000)]
)
def test_numbers_of_updates(budget: str, updates: int | None, expected: int) -> None:
    assert {run["updates"] for run in closed_loop.runs(budget, 1, updates=updates)} == {expected}
    assert [run["updates"] for run in closed_loop.runs("quick", 1)] == [20_000, 20_000, 4000, 4000]
