"""Running averages over batches."""

import torch as th
from torch import nn

# A running average spans about a tenth of the batches so far, and at most its horizon
_WARM_UP = 10


class RunningAverage(nn.Module):
    """Weight of the newest batch in an average that is short at first and exponential later.

    :param horizon: Number of batches that the average spans in the end.
    """

    count: th.Tensor  # a float, because SB3 averages all entries of a policy's state

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon
        self.register_buffer("count", th.zeros(()))

    def next_weight(self) -> th.Tensor:
        """Return 1 for the first batch, then weights that fall to 1 / horizon."""
        weight = th.clamp(_WARM_UP / (self.count + _WARM_UP), min=1 / self.horizon)
        weight = th.where(self.count == 0, th.ones_like(weight), weight)
        self.count += 1
        return weight
