"""The loop that trains vision and memory: Adam with limited gradients and a learning rate that falls along a cosine."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from ardae_rl.runs.run import Run
from ardae_rl.world_models.fitting import fit

RATE, FINAL_RATE = 0.1, 0.01
GRADIENTS = [[300.0, -400.0], [0.3, 0.4], [0.0, 5.0], [-0.6, 0.1]]
LIMITED = [[0.6, -0.8], [0.3, 0.4], [0.0, 1.0], [-0.6, 0.1]]  # to a norm of 1


class Linear(nn.Module):
    """A point whose loss has another given gradient in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.point, self.step = nn.Parameter(th.zeros(2)), 0

    def loss(self, rng: np.random.Generator) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        value = th.tensor(GRADIENTS[self.step]) @ self.point
        self.step += 1
        return value, {}


def adam(gradients: list[list[float]], rates: list[float]) -> np.ndarray:
    """Return where Adam ends that starts at 0, from the formulas of Kingma and Ba (2015)."""
    point, first, second = np.zeros(2), np.zeros(2), np.zeros(2)
    for t, (gradient, rate) in enumerate(zip(np.array(gradients), rates, strict=True), start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        point -= rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    return point


def fitted(folder: Path, **settings: Any) -> np.ndarray:
    model = Linear()
    fit(model, model.loss, Run(folder), name="point", n_steps=len(GRADIENTS), learning_rate=RATE, **settings)
    return model.point.detach().numpy()


def cosine(step: int) -> float:
    return FINAL_RATE + (RATE - FINAL_RATE) * (1 + math.cos(math.pi * step / len(GRADIENTS))) / 2


@pytest.mark.parametrize(
    ("settings", "gradients", "rates"),
    [
        ({}, GRADIENTS, [RATE] * 4),
        ({"gradient_norm": 1.0}, LIMITED, [RATE] * 4),
        ({"final_learning_rate": FINAL_RATE}, GRADIENTS, [cosine(step) for step in range(4)]),
        ({"gradient_norm": 1.0, "final_learning_rate": FINAL_RATE}, LIMITED, [cosine(step) for step in range(4)]),
    ],
)
def test_steps_by_hand(
    settings: dict[str, float], gradients: list[list[float]], rates: list[float], tmp_path: Path
) -> None:
    """Gradients above the limit are scaled down to it, and smaller ones are not."""
    np.testing.assert_allclose(fitted(tmp_path, **settings), adam(gradients, rates), rtol=1e-4)


def test_random_numbers_of_a_step(tmp_path: Path) -> None:
    """They depend on the seed and the step alone, and no two of them are the same."""

    def drawn(folder: str, seed: int) -> list[float]:
        model, numbers = nn.Linear(1, 1), []

        def loss(_: Any) -> tuple[th.Tensor, dict[str, th.Tensor]]:
            numbers.append(th.rand(()).item())
            return model(th.zeros(1)).sum(), {}

        fit(model, loss, Run(tmp_path / folder), name="m", n_steps=150, learning_rate=1e-3, seed=seed)
        return numbers

    first, other, again = drawn("first", 0), drawn("other", 1), drawn("again", 0)
    assert first == again and len({*first, *other}) == 300


def test_rows(tmp_path: Path) -> None:
    """One every three steps and one at the end: means since the last one, then what ``validate`` returns."""
    model, numbers = nn.Linear(1, 1), iter(range(7))
    reported: list[dict[str, float]] = []

    def loss(_: Any) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        return model(th.zeros(1)).sum(), {"number": th.tensor(float(next(numbers)))}

    rows = fit(
        model,
        loss,
        Run(tmp_path),
        name="m",
        n_steps=7,
        learning_rate=1e-3,
        every=3,
        validate=lambda: {"more": 2.0},
        on_row=reported.append,
    )
    assert [(row["step"], row["number"], row["more"]) for row in rows] == [(3, 1, 2), (6, 4, 2), (7, 6, 2)]
    assert list(rows) == reported


def test_final_learning_rate(tmp_path: Path) -> None:
    fitted(tmp_path, final_learning_rate=FINAL_RATE)
    optimizer = th.load(tmp_path / "point.pt", weights_only=True)["parts"]["optimizer"]
    assert optimizer["param_groups"][0]["lr"] == pytest.approx(FINAL_RATE)
