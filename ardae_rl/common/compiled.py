"""Faster execution of the same function: torch.compile on a CPU, a CUDA graph on a GPU."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import torch as th
from torch.utils import _pytree as pytree

P = ParamSpec("P")
T = TypeVar("T")
Metrics = dict[str, th.Tensor]


class CompiledFunction(Generic[P, T]):
    """A function of tensors compiled by torch.compile. If that fails, a warning says so and the function runs as it is.

    Compiled code draws the same random numbers, so the results are the same up to rounding. Each new shape of the
    arguments is compiled separately.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.compiled import CompiledFunction
    >>> softplus = CompiledFunction(lambda x: (1 + x.exp()).log())  # compiles at the first call

    :param function: Function to compile.
    """

    def __init__(self, function: Callable[P, T]) -> None:
        self._function = function
        self._compiled: Callable[P, T] | None = th.compile(function, dynamic=False, options={"fallback_random": True})

    # A copy compiles its own function: compiled code stays bound to the networks that it was made for
    def __getstate__(self) -> dict[str, Any]:
        return {"function": self._function}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["function"])  # type: ignore[misc]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._compiled is not None:
            try:
                return self._compiled(*args, **kwargs)
            except th._dynamo.exc.TorchDynamoException as error:  # e.g. no C++ compiler
                warnings.warn(f"training continues without torch.compile: {_summary(error)}", stacklevel=2)
                self._compiled = None
        return self._function(*args, **kwargs)


def normal_like(x: th.Tensor) -> th.Tensor:
    """Like ``th.randn_like``, except that torch.compile never merges two draws of the same shape into one."""
    return th.randn(x.shape, device=x.device, dtype=x.dtype)


class Recorder(Protocol):
    """Records the kernels of a function, for :class:`GraphedStep`."""

    def warm_up(self, function: Callable[[], Metrics]) -> Metrics:
        """Run the function once before it is recorded."""

    def record(self, function: Callable[[], th.Tensor]) -> Callable[[], th.Tensor]:
        """Return a replay of the function, which reads and writes the memory used while recording."""


class CudaRecorder:
    """Records CUDA graphs. The default random generator advances from replay to replay."""

    def warm_up(self, function: Callable[[], Metrics]) -> Metrics:
        # On a side stream, as for recording, so that lazy library initialization happens before recording
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
    """A training step that is recorded once and then replayed: one kernel launch instead of hundreds.

    The step must do the same work on the same memory each time: it updates networks and optimizers in place, and
    everything that changes from step to step is an input or in a tensor (see :func:`set_learning_rate`). The first
    calls, and those after a change of the inputs' shapes, run unrecorded. If recording fails, a warning says so and all
    further calls run unrecorded.

    :param step: Function from tensors, in tuples and dictionaries, to scalar metrics by name.
    :param recorder: Recorder for the device.
    :param n_warmup: Number of calls before recording.
    """

    def __init__(self, step: Callable[..., Metrics], recorder: Recorder, n_warmup: int = 3) -> None:
        self._step, self._recorder, self._n_warmup = step, recorder, n_warmup
        self._failed = False
        self.reset()

    # A copy records its own step: a recording reads and writes the memory that it was made with
    def __getstate__(self) -> dict[str, Any]:
        return {"step": self._step, "recorder": self._recorder, "n_warmup": self._n_warmup}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def reset(self) -> None:
        """Discard the recording. Call it when the memory of networks or optimizers has changed."""
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
            except RuntimeError as error:  # recording executes nothing, so the step has not been run yet
                message = "training continues without a CUDA graph, whose recording failed"
                warnings.warn(f"{message}: {_summary(error)}", stacklevel=2)
                self._failed = True
                return self._step(*inputs)
        assert self._replay is not None
        for static, leaf in zip(self._static, leaves, strict=True):
            if isinstance(static, th.Tensor):
                static.copy_(leaf)
        values = self._replay().clone()  # the next replay overwrites them
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
    """Set the learning rate as a number, or, for a recorded step, in the tensor that the recording reads.

    :param optimizer: Optimizer whose groups all get the learning rate, times their entry "lr_scale" if they have one.
    :param value: Learning rate.
    :param graphed: Whether the optimizer runs in a recorded step.
    """
    for group in optimizer.param_groups:
        scaled = value * group.get("lr_scale", 1.0)
        if not graphed:
            group["lr"] = scaled
        elif isinstance(group["lr"], th.Tensor):
            group["lr"].fill_(scaled)
        else:
            group["lr"] = th.tensor(scaled, device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = graphed


def _summary(error: Exception) -> str:
    """Return the first informative lines of a long compiler error."""
    lines = [line for line in str(error).splitlines() if line.strip() and "TORCHDYNAMO_VERBOSE" not in line]
    return " ".join(lines[:2])
