"""A stand-in for a CUDA graph on machines without a GPU."""

from collections.abc import Callable

import torch as th

from ardae_rl.common.compiled import Metrics


class Tape:
    """A recorder for a CPU, whose replay runs the function again on the inputs that it was recorded with."""

    def __init__(self, fails: bool = False) -> None:
        self.events: list[str] = []
        self.fails = fails

    def warm_up(self, function: Callable[[], Metrics]) -> Metrics:
        self.events.append("warm-up")
        return function()

    def record(self, function: Callable[[], th.Tensor]) -> Callable[[], th.Tensor]:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nlong explanation")
        self.events.append("record")
        result: list[th.Tensor] = []

        def replay() -> th.Tensor:
            self.events.append("replay")
            values = function()
            result[:] = result or [th.empty_like(values)]
            return result[0].copy_(values)  # always the same memory, like the result of a CUDA graph

        return replay
