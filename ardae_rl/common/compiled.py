"""Faster ways to run the same function: through torch.compile on a CPU, as a CUDA graph on a GPU."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import torch as th
from torch.utils import _pytree as pytree

P = ParamSpec("P")
T = TypeVar("T")
Metrics = dict[str, th.Tensor]


class CompiledFunction(Generic[P, T]):
    """A function of tensors through torch.compile; the function itself where that fails, after a warning.

    It draws the random numbers that the function would, so that both give the same results to rounding. Each shape
    of the arguments is compiled at its first call.
    """

    def __init__(self, function: Callable[P, T]) -> None:
        self._function = function
        self._compiled: Callable[P, T] | None = th.compile(function, dynamic=False, options={"fallback_random": True})

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._compiled is not None:
            try:
                return self._compiled(*args, **kwargs)
            except th._dynamo.exc.TorchDynamoException as error:  # such as no C++ compiler; no result is lost
                reason = _beginning(error)
                warnings.warn(f"compile=True: going on without torch.compile, which failed: {reason}", stacklevel=2)
                self._compiled = None
        return self._function(*args, **kwargs)


def normal_like(x: th.Tensor) -> th.Tensor:
    """``th.randn_like``, but for torch.compile, which takes two of its draws of one shape for the same numbers."""
    return th.randn(x.shape, device=x.device, dtype=x.dtype)


class Recorder(Protocol):
    """What records a function's kernels, for :class:`GraphedStep`."""

    def warm_up(self, function: Callable[[], Metrics]) -> Metrics:
        """Run it once more before it is recorded."""

    def record(self, function: Callable[[], th.Tensor]) -> Callable[[], th.Tensor]:
        """What runs all of it again, on the memory of the first time, and returns its result there."""


class CudaRecorder:
    """CUDA graphs, with the default generator's random numbers advancing from replay to replay."""

    def warm_up(self, function: Callable[[], Metrics]) -> Metrics:
        # Beside the current stream, as recording will be: what libraries set up at first use must be there by then
        stream, current = th.cuda.Stream(), th.cuda.current_stream()
        stream.wait_stream(current)
        with th.cuda.stream(stream):
            result = function()
        current.wait_stream(stream)
        return result

    def record(self, function: Callable[[], th.Tensor]) -> Callable[[], th.Tensor]:
        graph = th.cuda.CUDAGraph()
        with th.cuda.graph(graph):
            result = function()

        def replay() -> th.Tensor:
            graph.replay()
            return result

        return replay


class GraphedStep:
    """A training step that is recorded once and then replayed: one launch in place of hundreds.

    The step has to do the same work on the same memory each time: networks and optimizers are updated in place, with
    what changes from step to step among the inputs or in tensors (see :func:`set_learning_rate`). It runs as it is for
    the first calls, after a change of the inputs' shapes, and from then on where recording fails, after a warning.

    :param step: maps tensors, in tuples and dictionaries, to scalar metrics by name
    :param recorder: what records it
    :param n_warmup: calls before it is recorded
    """

    def __init__(self, step: Callable[..., Metrics], recorder: Recorder, n_warmup: int = 3) -> None:
        self._step, self._recorder, self._n_warmup = step, recorder, n_warmup
        self._failed = False
        self.reset()

    def reset(self) -> None:
        """Forget the recording: for when networks or optimizers have got other memory."""
        self._replay: Callable[[], th.Tensor] | None = None
        self._calls = 0
        self._shapes: list[Any] = []

    def __call__(self, *inputs: Any) -> Metrics:
        if self._failed:
            return self._step(*inputs)
        leaves, structure = pytree.tree_flatten(inputs)
        shapes = [(leaf.shape, leaf.dtype) if isinstance(leaf, th.Tensor) else leaf for leaf in leaves]
        if shapes != self._shapes:
            self.reset()
            self._shapes = shapes
        if self._replay is None:
            self._calls += 1
            if self._calls <= self._n_warmup:
                return self._recorder.warm_up(lambda: self._step(*inputs))
            try:
                self._record(leaves, structure)
            except RuntimeError as error:  # nothing has run: recording only takes note
                reason = _beginning(error)
                warnings.warn(f"compile=True: going on without a CUDA graph, recording failed: {reason}", stacklevel=2)
                self._failed = True
                return self._step(*inputs)
        assert self._replay is not None
        for static, leaf in zip(self._static, leaves, strict=True):
            if isinstance(static, th.Tensor):
                static.copy_(leaf)
        values = self._replay().clone()  # because the next replay overwrites them
        return dict(zip(self._names, values.unbind(), strict=True))

    def _record(self, leaves: Sequence[Any], structure: Any) -> None:
        self._static = [leaf.clone() if isinstance(leaf, th.Tensor) else leaf for leaf in leaves]
        self._names: list[str] = []

        def step() -> th.Tensor:
            metrics = self._step(*pytree.tree_unflatten(self._static, structure))
            self._names[:] = metrics
            return th.stack([value.reshape(()) for value in metrics.values()])

        self._replay = self._recorder.record(step)


def set_learning_rate(optimizer: th.optim.Optimizer, value: float, graphed: bool) -> None:
    """Set it as a number, or inside of the tensor that a recorded step reads."""
    for group in optimizer.param_groups:
        if not graphed:
            group["lr"] = value
        elif isinstance(group["lr"], th.Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = th.tensor(value, device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = graphed


def _beginning(error: Exception) -> str:
    """Of messages that go on for pages, what tells the cause."""
    lines = [line for line in str(error).splitlines() if line.strip() and "TORCHDYNAMO_VERBOSE" not in line]
    return " ".join(lines[:2])
