"""Target calibration: critics that learn Q less a constant, so that they need not grow to the entropy's share of it."""

import torch as th
from torch import nn


class TargetCalibration(nn.Module):
    """Keeps B, the mean of the entropy bonus in the target, and shifts the targets by C = B / (1 - γ).

    The paper subtracts B from every target and leaves the value after a terminal step at zero (App. G.2). That is a
    reward of r - B while the episode lasts: it changes the task wherever episodes can end, because ending early
    saves the rest of the Bs. A shift that preserves the order of policies must be the same for all states, the
    terminal one included, whose value becomes -C: with Q̃ = Q - C,

        Q̃(s, a) = r + γ (1 - done) (Q̃(s', a') + C - α ln π(a' | s')) - C.

    Without terminal steps this is the paper's form; at a terminal step it subtracts C and not B.

    :param gamma: discount factor γ, below 1
    """

    mean_bonus: th.Tensor
    count: th.Tensor

    def __init__(self, gamma: float):
        super().__init__()
        if not 0 <= gamma < 1:
            raise ValueError(f"`gamma` must be in [0, 1) if `target_calibration` is True, got {gamma!r}")
        self.gamma = gamma
        self.register_buffer("mean_bonus", th.zeros(()))
        self.register_buffer("count", th.zeros(()))

    @property
    def shift(self) -> th.Tensor:
        """C, what the critics' values lie below the true ones."""
        return self.mean_bonus / (1 - self.gamma)

    def observe(self, bonus: th.Tensor) -> None:
        """:param bonus: (1 - done) γ (-α ln π(a' | s')), any shape"""
        self.count += 1
        self.mean_bonus += (bonus.mean() - self.mean_bonus) / self.count
