"""Selection of the weights that PPO keeps: the best few on held-out episodes, and the best of these on others."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

from ardae_rl.runs.run import History
from ardae_rl.runs.tables import write_csv
from ardae_rl.world_models.evolution import Evaluator
from ardae_rl.world_models.evolution.evaluator import standard_error
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.seeds import SELECTION_SEEDS, TEST_SEEDS

N_CANDIDATES = 5


class Selection:
    """Evaluates weights of a controller of frames on held-out seeds, and stores the best ones.

    :param policy: Policy with a controller of frames.
    :param evaluator: Plays episodes with copies of the policy.
    :param folder: Folder for the tables ``controller.csv`` and ``controller_tested.csv``.
    :param n_held_out: Number of held-out seeds.
    :param n_tested: Number of seeds on which the best weights are compared at the end.
    """

    def __init__(
        self, policy: WorldModelPolicy, evaluator: Evaluator, folder: Path, n_held_out: int, n_tested: int
    ) -> None:
        self.policy, self.evaluator, self.folder = policy, evaluator, folder
        self.n_held_out, self.n_tested = n_held_out, n_tested
        self.rows = History()
        self.weights: dict[int, dict[str, th.Tensor]] = {}  # weights of the best rows, by row number

    @property
    def n_steps(self) -> int:
        """Number of decisions on held-out seeds so far."""
        return int(self.rows[-1]["n_held_out_steps"]) if self.rows else 0

    @property
    def best(self) -> dict[str, float]:
        """The column ``best_held_out_mean``, the best mean return so far; empty before the first evaluation."""
        return {"best_held_out_mean": max(row["held_out_mean"] for row in self.rows)} if self.rows else {}

    def add(self, actor: nn.Module, row: Mapping[str, float]) -> None:
        """Evaluate an actor, and add a row to the table: the given columns, then the returns and the number of steps.

        :param actor: Actor with the weights.
        :param row: Columns that identify the weights.
        """
        returns, n_steps = self._play(actor.state_dict(), SELECTION_SEEDS[: self.n_held_out])
        results = {"held_out_mean": float(returns.mean()), "held_out_minimum": float(returns.min())}
        results["held_out_error"] = standard_error(returns)
        self.rows.append({**row, **results, "n_held_out_steps": self.n_steps + n_steps})
        write_csv(self.folder / "controller.csv", self.rows)
        self.weights[len(self.rows) - 1] = deepcopy(actor.state_dict())
        for number in self._ranking()[N_CANDIDATES:]:
            self.weights.pop(number, None)

    def finish(self) -> None:
        """Evaluate the best weights on further episodes, and load the best of these into the policy."""
        tested = []
        for number in self._ranking()[:N_CANDIDATES]:
            returns, _ = self._play(self.weights[number], TEST_SEEDS[: self.n_tested])
            tested.append((float(returns.mean()), number))
        rows = [{**self.rows[number], "tested_mean": mean} for mean, number in tested]
        write_csv(self.folder / "controller_tested.csv", rows)
        self._load(self.weights[max(tested)[1]])

    def state_dict(self) -> dict[str, Any]:
        """Return the table and the weights of its best rows, as a part of a checkpoint."""
        return {"rows": list(self.rows), "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state."""
        self.rows[:], self.weights = state_dict["rows"], state_dict["weights"]

    def _ranking(self) -> list[int]:
        """Return the row numbers, best first."""
        return sorted(range(len(self.rows)), key=lambda number: -self.rows[number]["held_out_mean"])

    def _play(self, weights: dict[str, th.Tensor], seeds: Sequence[int]) -> tuple[NDArray[np.float64], int]:
        """Return the returns of episodes with these weights, (n_seeds,), and their total number of decisions."""
        self._load(weights)
        self.evaluator.update(self.policy.state_dict())
        results = self.evaluator.evaluate(np.zeros((1, 0)), seeds)
        return results.returns[0], results.n_steps

    def _load(self, weights: dict[str, th.Tensor]) -> None:
        assert self.policy.stacked_policy is not None
        self.policy.stacked_policy.actor.load_state_dict(weights)
