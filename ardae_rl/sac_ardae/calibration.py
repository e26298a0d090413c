"""Target calibration: the critics learn Q minus a constant, so they need not reach the entropy's contribution to Q."""

import torch as th
from torch import nn


class TargetCalibration(nn.Module):
    """Running mean B of the entropy bonus in the targets, which are shifted by C = B / (1 - γ).

    With n-step returns, γ stands for γⁿ throughout.

    The paper subtracts B from every target and keeps the value after a terminal step at zero (App. G.2). This is a
    reward of r - B while the episode lasts, which changes the task wherever episodes can end: ending early avoids the
    remaining Bs. To preserve the ranking of policies, the shift must be the same in all states, including the terminal
    state, whose value becomes -C: with Q̃ = Q - C,

        Q̃(s, a) = r + γ (1 - done) (Q̃(s', a') + C - α ln π(a' | s')) - C.

    Without terminal steps this is the paper's form; at a terminal step it subtracts C instead of B.

    :param gamma: Discount factor γ of the next value in a target, below 1.
    :raises ValueError: If ``gamma`` is not in [0, 1).
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
        """C, the constant by which the critics underestimate the true Q-values."""
        return self.mean_bonus / (1 - self.gamma)

    def update(self, bonus: th.Tensor) -> None:
        """Update the running mean.

        :param bonus: (1 - done) γ (-α ln π(a' | s')), of any shape.
        """
        self.count += 1
        self.mean_bonus += (bonus.mean() - self.mean_bonus) / self.count
