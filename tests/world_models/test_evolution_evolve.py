"""Evolution: it learns, and an interrupted one ends as an uninterrupted one."""

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from ardae_rl.runs.run import Run
from ardae_rl.world_models.evolution import (
    CMAES,
    TRAINING_SEEDS,
    Episodes,
    Evaluator,
    Evolution,
    Returns,
    RolloutEvaluator,
    evolve,
)
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.selection import Selection
from tests.world_models.evolution_toys import LinearPolicy, drifting

pytest.importorskip("cma")


class CartPolePolicy(LinearPolicy):
    """Left or right, according to the sign of a linear function."""

    def act(self, parameters: Any, observations: Any, state: Any, episode_start: Any) -> tuple[Any, Any]:
        outputs, _ = super().act(parameters, observations, state, episode_start)
        return (outputs[:, 0] > 0).astype(int), None


def test_learns_to_balance() -> None:
    """CartPole in twelve small generations, evaluated with the mean of the distribution."""
    evaluator = RolloutEvaluator(lambda: gym.make("CartPole-v1", max_episode_steps=200), CartPolePolicy(4, 1), 16)
    es = CMAES(5, sigma=0.5, population_size=12, seed=0)
    result = evolve(es, evaluator, 12, seeds_per_generation=3, evaluate_every=4, held_out_seeds=range(8))
    assert result.rows[0]["held_out_mean"] < 20
    assert result.best_return > 190 and result.best_return == max(_held_out(result))


def _evolve(n: int | None, at: Run | None = None, **arguments: Any) -> tuple[Evolution, CMAES]:
    es = CMAES(8, population_size=6, seed=1)
    settings: dict[str, Any] = {"seeds_per_generation": 3, "evaluate_every": 4, "held_out_seeds": range(5), "seed": 2}
    return evolve(es, drifting(patience=2), n, run=at, **settings | arguments), es


def _held_out(evolution: Evolution) -> list[float]:
    return [row["held_out_mean"] for row in evolution.rows if not math.isnan(row["held_out_mean"])]


@pytest.mark.parametrize("interruption", [3, 6])
def test_an_interrupted_evolution_ends_as_an_uninterrupted_one(tmp_path: Path, interruption: int) -> None:
    def interrupt(evolution: Evolution, es: CMAES) -> None:
        if es.generation == interruption:
            raise KeyboardInterrupt

    whole, es = _evolve(10, Run(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        _evolve(10, Run(tmp_path / "cut"), callback=interrupt)
    expected = es.ask()
    for generations in (range(interruption, 11), range(0)):  # the one that was cut and the rest; nothing is left then
        played: list[int] = []
        cut, other = _evolve(10, Run(tmp_path / "cut"), callback=lambda _, es, to=played: to.append(es.generation))
        assert played == list(generations)
        np.testing.assert_equal(cut.rows, whole.rows)
        np.testing.assert_array_equal(cut.best_mean, whole.best_mean)
        np.testing.assert_array_equal(other.ask(), expected)
    np.testing.assert_equal(_evolve(10)[0].rows, whole.rows)


def test_rows() -> None:
    evolution, es = _evolve(6)
    assert [row["generation"] for row in evolution.rows] == list(range(7))
    assert [i for i, row in enumerate(evolution.rows) if not math.isnan(row["held_out_mean"])] == [0, 4, 6]
    last = evolution.rows[-1]
    held_out = drifting().evaluate(es.mean[None], range(5))
    assert last["held_out_mean"] == pytest.approx(held_out.returns.mean())
    assert last["held_out_error"] == pytest.approx(held_out.returns.std(ddof=1) / math.sqrt(5))
    assert last["sigma"] == es.sigma
    assert last["max_fitness"] > last["mean_fitness"] and 0 < last["given_up"] < 1
    steps = np.array([[row["n_steps"], row["n_held_out_steps"]] for row in evolution.rows])
    assert (np.diff(steps[:, 0]) > 0).all() and steps[0, 0] == 0
    assert (np.diff(steps[:, 1]) == [0, 0, 0, held_out.n_steps, 0, held_out.n_steps]).all()
    assert evolution.best_return == max(_held_out(evolution))


def test_seeds() -> None:
    """They differ between generations, do not depend on the population, and are never held-out ones."""
    asked: list[tuple[list[int], bool]] = []
    evaluator = drifting()
    evaluate = evaluator.evaluate

    def spy(parameters: Any, seeds: Any, give_up: bool = True) -> Returns:
        asked.append((list(seeds), give_up))
        return evaluate(parameters, seeds, give_up)

    evaluator.evaluate = spy  # type: ignore[method-assign]
    for population in (4, 6):
        evolve(CMAES(8, population_size=population), evaluator, 5, seed=3, evaluate_every=9, held_out_seeds=[7, 8])
    first, second = asked[:7], asked[7:]
    assert first == second
    assert [seeds for seeds, _ in first[:1] + first[-1:]] == [[7, 8], [7, 8]]
    drawn = [seed for seeds, _ in first[1:-1] for seed in seeds]
    assert len(set(drawn)) == 20 and min(drawn) >= TRAINING_SEEDS.start and max(drawn) < TRAINING_SEEDS.stop
    assert [give_up for _, give_up in first] == [False, True, True, True, True, True, False]


def test_ends_when_the_callback_says_so() -> None:
    evolution, es = _evolve(10, callback=lambda evolution, es: es.generation < 3)
    assert es.generation == 3 and len(evolution.rows) == 4


def test_the_last_mean_is_evaluated_at_a_stop() -> None:
    """Otherwise a short, unlimited evolution would return its initial mean."""
    arguments: dict[str, Any] = {"evaluate_every": 10, "callback": lambda evolution, es: es.generation < 3}
    evolution, _ = _evolve(None, **arguments)
    evaluated = [math.isfinite(row["held_out_mean"]) for row in evolution.rows]
    assert evaluated == [True, False, False, True]
    assert evolution.best_return == max(evolution.rows[k]["held_out_mean"] for k in (0, 3))
    assert evolution.rows[3]["n_held_out_steps"] == 2 * evolution.rows[0]["n_held_out_steps"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evaluate_every": 0}, "`evaluate_every` must be >= 1, got 0"),
        ({"seeds_per_generation": 0}, "`seeds_per_generation` must be >= 1, got 0"),
        ({"held_out_seeds": []}, r"`held_out_seeds` must be from 0 to 1048575, got \[\]"),
        ({"held_out_seeds": [2**20]}, r"`held_out_seeds` must be from 0 to 1048575, got \[1048576\]"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _evolve(1, **arguments)


class Scripted(Evaluator):
    """Returns the seed as the return."""

    def play(self, parameters: Any, seeds: Any, give_up: bool = True) -> Episodes:
        return Episodes(seeds.astype(float), np.ones(len(seeds), np.int64), np.zeros(len(seeds), np.bool_))

    def update(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.parametrize(("n", "expected"), [(4, math.sqrt(5 / 3 / 4)), (1, math.nan)])
def test_errors_of_both_searches(n: int, expected: float, tmp_path: Path) -> None:
    """Those of the mean of n returns, in a search and in a training: of consecutive numbers here."""
    evolution = evolve(CMAES(3, population_size=4), Scripted(), 1, held_out_seeds=range(n))
    frames = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    small: dict[str, Any] = {"z_dim": 2, "vision_width": 4, "memory_hidden": 4, "controller_input": "frames"}
    policy = WorldModelPolicy(frames, spaces.Discrete(2), **small)
    assert policy.stacked_policy is not None
    selection = Selection(policy, Scripted(), tmp_path, n_held_out=n, n_tested=1)
    selection.add(policy.stacked_policy.actor, {})
    for row in (evolution.rows[-1], selection.rows[-1]):
        assert row["held_out_error"] == pytest.approx(expected, nan_ok=True)
