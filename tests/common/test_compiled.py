"""Compiled functions and recorded steps equal the plain ones, and warn where compiling or recording fails."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch as th

from ardae_rl.common.compiled import CompiledFunction, GraphedStep, Metrics, normal_like, set_learning_rate
from tests.common.tape import Tape


def noisy_energy(x: th.Tensor) -> dict[str, th.Tensor]:
    return {"energy": (normal_like(x) + x * normal_like(x)).sin().sum()}


def test_compiled_function_draws_the_same_noise() -> None:
    compiled = CompiledFunction(noisy_energy)
    results = []
    for function in (noisy_energy, compiled):
        th.manual_seed(0)
        x = th.linspace(-1, 1, 7, requires_grad=True)
        energies = [function(x)["energy"] for _ in range(2)]
        assert energies[0] != energies[1]
        results.append((*energies, *th.autograd.grad(energies[0] + energies[1], x)))
    for plain, fast in zip(*results, strict=True):
        th.testing.assert_close(fast, plain)


def test_compiled_function_works_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(graph: th.fx.GraphModule, inputs: Any) -> Any:
        raise OSError("no C++ compiler\nand a long explanation")

    real = th.compile
    monkeypatch.setattr(th, "compile", lambda function, **_: real(function, backend=no_compiler))
    compiled = CompiledFunction(noisy_energy)
    x = th.ones(3)
    th.manual_seed(0)
    expected = noisy_energy(x)["energy"]
    th.manual_seed(0)
    with pytest.warns(UserWarning, match=r"training continues without torch\.compile: .*no C\+\+ com"):
        assert compiled(x)["energy"] == expected
    with warnings.catch_warnings(action="error"):  # there is one warning only
        assert compiled(x)["energy"] != expected


def test_compiled_function_raises_the_functions_own_errors() -> None:
    def broken(x: th.Tensor) -> th.Tensor:
        raise KeyError("obs")

    with pytest.raises(KeyError, match="obs"):
        CompiledFunction(broken)(th.ones(1))


class Counter:
    """Counts its compiled calls."""

    def __init__(self, make: Callable[[Callable[[th.Tensor], Metrics]], Any]) -> None:
        self.count = th.zeros(())
        self.update = make(self._update)

    def _update(self, by: th.Tensor) -> Metrics:
        return {"count": self.count.add_(by).clone()}


@pytest.mark.parametrize("form", ["compiled", "recorded"])
def test_a_copy_has_compiled_functions_of_its_own(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change the copy, not the original, for which they were compiled or recorded."""
    monkeypatch.setattr(th, "compile", lambda function, **_: lambda *args: function(*args))
    original = Counter(CompiledFunction if form == "compiled" else lambda f: GraphedStep(f, Tape(), n_warmup=1))
    for _ in range(3):
        original.update(th.ones(()))
    copied = copy.deepcopy(original)
    for _ in range(3):
        copied.update(th.ones(()))
    assert (original.count.item(), copied.count.item()) == (3, 6)


def step(batch: dict[str, th.Tensor], options: tuple[th.Tensor | None, th.Tensor]) -> Metrics:
    _, scale = options
    return {"sum": (scale * batch["x"]).sum(), "first": batch["x"][0]}


def call(graphed: Callable[..., Metrics], x: float, scale: float, size: int = 3) -> list[float]:
    metrics = graphed({"x": th.full((size,), x)}, (None, th.tensor(scale)))
    return [value.item() for value in metrics.values()]


def test_graphed_step_takes_new_inputs() -> None:
    tape = Tape()
    graphed = GraphedStep(step, tape, n_warmup=2)
    assert [call(graphed, x, 2.0) for x in (1.0, 2.0, 3.0, 4.0)] == [[6 * x, x] for x in (1.0, 2.0, 3.0, 4.0)]
    assert call(graphed, 4.0, 10.0) == [120, 4]
    assert tape.events == ["warm-up"] * 2 + ["record"] + ["replay"] * 3


def test_metrics_of_a_graphed_step_survive_the_next_step() -> None:
    graphed = GraphedStep(step, Tape(), n_warmup=0)
    batches = [{"x": th.full((3,), value)} for value in (1.0, 2.0)]
    first, second = (graphed(batch, (None, th.ones(()))) for batch in batches)
    assert list(first) == list(second) == ["sum", "first"]
    assert first["sum"] == 3 and second["sum"] == 6


def test_graphed_step_is_recorded_again_for_other_shapes_and_after_a_reset() -> None:
    tape = Tape()
    graphed = GraphedStep(step, tape, n_warmup=1)
    for size in (3, 3, 5, 5):
        assert call(graphed, 1.0, 1.0, size) == [size, 1]
    graphed.reset()
    call(graphed, 1.0, 1.0, 5)
    assert tape.events == ["warm-up", "record", "replay"] * 2 + ["warm-up"]


def test_graphed_step_works_where_recording_fails() -> None:
    tape = Tape(fails=True)
    graphed = GraphedStep(step, tape, n_warmup=1)
    call(graphed, 1.0, 1.0)
    with pytest.warns(
        UserWarning, match=r"training continues without a CUDA graph, whose recording failed: operation not"
    ):
        assert call(graphed, 2.0, 3.0) == [18, 2]
    with warnings.catch_warnings(action="error"):
        assert call(graphed, 1.0, 1.0) == [3, 1]
    assert tape.events == ["warm-up"]


def test_learning_rate_of_a_graphed_step() -> None:
    """The recording reads the same tensor throughout, which has the effect of a number."""
    parameters = [th.nn.Parameter(th.ones(2)) for _ in range(2)]
    plain, graphed = (th.optim.Adam([parameter], fused=True) for parameter in parameters)
    for value in (0.1, 0.01):
        for parameter, optimizer in zip(parameters, (plain, graphed), strict=True):
            set_learning_rate(optimizer, value, graphed=optimizer is graphed)
            parameter.grad = th.tensor([1.0, -2.0])
            optimizer.step()
        if value == 0.1:
            tensor = graphed.param_groups[0]["lr"]
    assert graphed.param_groups[0]["lr"] is tensor and tensor.item() == pytest.approx(0.01)
    assert graphed.param_groups[0]["capturable"]
    assert plain.param_groups[0]["lr"] == 0.01
    th.testing.assert_close(*parameters)
    set_learning_rate(graphed, 0.2, graphed=False)
    assert graphed.param_groups[0]["lr"] == 0.2 and not graphed.param_groups[0]["capturable"]
