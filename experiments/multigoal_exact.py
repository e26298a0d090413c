"""The optimal maximum-entropy policy of ardae/MultiGoal-v0, by soft value iteration on a grid.

The dynamics are known and deterministic, and a grid of spacing 0.1 contains every position that actions in multiples
of 0.1 lead to, so no interpolation is needed. The solution shows at which temperature the task is multimodal: between
two neighboring modes at the origin the action density falls to 0.44 of its maximum at temperature 10, to 0.10 at 5 and
to 0.002 at 2; at 20 the optimal policy no longer heads for the goals.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ardae_envs.multi_goal import ACTION_COST, GOAL_RADIUS, GOAL_REWARD, GOALS, POSITION_LIMIT

SPACING = 0.1
MAX_ITERATIONS, TOLERANCE = 500, 1e-2
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """Coordinates of the grid (n,), soft values (n, n), soft Q (k, n, n) of the actions (k, 2) with weights (k,)."""

    positions: Array
    value: Array
    actions: Array
    weights: Array  # area of the actions that each grid action represents, which is smaller at the border of the box
    q: Array
    temperature: float

    def save(self, path: Path) -> None:
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Solution":
        with np.load(path) as saved:
            arrays = {field.name: saved[field.name] for field in fields(cls)}
        return cls(**arrays | {"temperature": float(arrays["temperature"])})

    def policy(self, row: int, column: int) -> Array:
        """Return the probabilities (k,) of the actions in one cell."""
        logits = self.q[:, row, column] / self.temperature
        mass = self.weights * np.exp(logits - logits.max())
        return np.asarray(mass / mass.sum(), dtype=np.float64)

    def origin_policy(self) -> Array:
        """Return the policy at the origin as a square table (first action coordinate, second)."""
        origin, side = len(self.positions) // 2, round(len(self.actions) ** 0.5)
        return self.policy(origin, origin).reshape(side, side)

    def total_variation(self, actions: Array) -> float:
        """Return the total variation, in [0, 1], of samples (m, 2) from the policy at the origin, in 7 x 7 bins."""
        optimal = self.origin_policy()
        side = len(optimal)
        cells = np.rint(actions / SPACING).astype(int) + side // 2
        sampled = np.zeros_like(optimal)
        np.add.at(sampled, tuple(cells.T), 1 / len(cells))
        difference = (optimal - sampled).reshape(side // 3, 3, side // 3, 3).sum(axis=(1, 3))
        return float(np.abs(difference).sum() / 2)

    def rollouts(self, episodes: int, steps: int, rng: np.random.Generator) -> list[Array]:
        """Return paths (t, 2) of the optimal policy from the origin."""
        origin = len(self.positions) // 2
        paths = []
        for _ in range(episodes):
            path = [np.zeros(2)]
            cell = np.array([origin, origin])
            for _ in range(steps):
                chosen = self.actions[rng.choice(len(self.actions), p=self.policy(*cell))]
                cell = np.clip(cell + np.rint(chosen / SPACING).astype(int), 0, len(self.positions) - 1)
                path.append(self.positions[cell])
                if np.linalg.norm(path[-1] - GOALS, axis=1).min() < GOAL_RADIUS:
                    break
            paths.append(np.stack(path))
        return paths


def solve(temperature: float, gamma: float) -> Solution:
    """Iterate V(x) = temperature log of the integral of exp(Q(x, a) / temperature) da to its fixed point.

    :raises ValueError: If the fixed point is not reached: at high temperatures the entropy outweighs every cost.
    """
    half = round(POSITION_LIMIT / SPACING)
    positions: Array = SPACING * np.arange(-half, half + 1, dtype=np.float64)
    grid = np.stack(np.meshgrid(positions, positions, indexing="ij"), axis=-1)
    squared = ((grid[..., None, :] - GOALS) ** 2).sum(axis=-1).min(axis=-1)
    goal = squared < GOAL_RADIUS**2 - 1e-9  # strictly inside, whatever the rounding of the grid
    reach = round(1 / SPACING)
    shifts = np.stack(np.meshgrid(*2 * [np.arange(-reach, reach + 1)], indexing="ij"), axis=-1).reshape(-1, 2)
    actions: Array = SPACING * shifts.astype(np.float64)
    width = np.where(np.abs(np.arange(-reach, reach + 1)) == reach, SPACING / 2, SPACING)
    weights = np.outer(width, width).ravel()
    index = np.arange(len(positions))
    value = np.zeros_like(squared)
    for _ in range(MAX_ITERATIONS):
        arrival = -squared + np.where(goal, GOAL_REWARD, gamma * value)  # reward of entering a position
        q = np.stack(
            [
                arrival[np.ix_(*(np.clip(index + s, 0, len(index) - 1) for s in shift))] - ACTION_COST * (a @ a)
                for shift, a in zip(shifts, actions, strict=True)
            ]
        )
        best = q.max(axis=0)
        soft = np.tensordot(weights, np.exp((q - best) / temperature), axes=1)
        change, value = value, best + temperature * np.log(soft)
        if np.abs(change - value).max() < TOLERANCE:
            return Solution(positions, value, actions, weights, q, temperature)
    raise ValueError(f"`temperature` must be smaller, got {temperature}: no fixed point in {MAX_ITERATIONS} iterations")
