"""Running averages over batches."""

import torch as th
from torch import nn


class RunningAverage(nn.Module):
    """Weight of the newest batch in a running average that is short at first and exponential later.

    :param horizon: Number of batches that the exponential average spans.
    :param share: Until then, the average spans this fraction of the batches seen so far. With 1, all of them count
        equally; with less, early batches, which are the least representative, are forgotten sooner.
    """

    count: th.Tensor  # a float, because SB3 averages all entries of a policy's state

    def __init__(self, horizon: int, share: float = 0.1) -> None:
        super().__init__()
        self.horizon, self.share = horizon, share
        self.register_buffer("count", th.zeros(()))

    def next_weight(self) -> th.Tensor:
        """Return 1 for the first batch, then weights that fall to 1 / horizon."""
        weight = th.clamp(1 / (self.share * self.count + 1), min=1 / self.horizon)
        self.count += 1
        return weight
