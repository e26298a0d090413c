"""SACARDAE with compile=True: the training is the same in every form of execution."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as th

from ardae_rl import SACARDAE
from ardae_rl.common.compiled import CompiledFunction, GraphedStep
from ardae_rl.score import ARDAE
from tests.common.models import parameters
from tests.common.tape import Tape
from tests.sac_ardae.small import make

FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "calibration, schedule": {"target_calibration": True, "learning_rate": lambda progress: 1e-3 * progress},
    "no clamping, fixed temperature": {"clamping_kwargs": {"eta": 0}, "ent_coef": 0.1},
}


def with_graph(model: SACARDAE) -> Tape:
    """Do what compile=True does on a GPU, with a recorder for the CPU."""
    tape = Tape()
    for name in ("update_networks", "update_critic_alone"):
        setattr(model, name, GraphedStep(getattr(model, name), tape))
    return tape


def assert_same_training(model: SACARDAE, other: SACARDAE, tolerance: float) -> None:
    """Assert that networks and metrics are equal."""
    for name, tensor in parameters(model).items():
        th.testing.assert_close(parameters(other)[name], tensor, rtol=tolerance, atol=tolerance, msg=name)
    for name, value in model.logger.name_to_value.items():
        if name.startswith("train/"):
            assert other.logger.name_to_value[name] == pytest.approx(value, rel=100 * tolerance, abs=tolerance), name


def learn(model: SACARDAE, steps: int) -> None:
    model.set_random_seed(1)
    model.learn(steps, log_interval=1000, reset_num_timesteps=False)  # the metrics stay in the logger


@pytest.mark.parametrize("compiled", [False, True])
def test_functions_are_compiled_on_demand_alone(compiled: bool) -> None:
    model = make(compile=compiled)
    for name in ("_encode_states", "_score_samples", "target_q_values", "_actor_loss"):
        assert isinstance(getattr(model, name), CompiledFunction) == compiled


@pytest.mark.parametrize("form", FORMS)
def test_recorded_steps_train_like_plain_steps(form: str) -> None:
    plain, graphed = make(**FORMS[form]), make(**FORMS[form])
    tape = with_graph(graphed)
    for model in (plain, graphed):
        learn(model, 18)
    assert tape.events == ["warm-up"] * 3 + ["record"] + ["replay"] * 5
    assert_same_training(plain, graphed, 1e-6)


def test_both_kinds_of_steps_are_recorded() -> None:
    """Of twelve gradient steps with CrossQ's critics, four update the policy."""
    policy_kwargs = {"critic": "crossq"}
    plain, graphed = make(policy_kwargs=policy_kwargs), make(policy_kwargs=policy_kwargs)
    tape = with_graph(graphed)
    for model in (plain, graphed):
        learn(model, 22)
    assert {name: tape.events.count(name) for name in tape.events} == {"warm-up": 6, "record": 2, "replay": 6}
    assert_same_training(plain, graphed, 1e-6)


def test_recorded_steps_saved_loaded_and_continued(tmp_path: Path) -> None:
    """Each form of execution continues what the other has saved. The recording itself is not saved."""
    models = [make(), make()]
    with_graph(models[1])
    for model in models:
        learn(model, 15)
        model.save(tmp_path / "model")
        model.save_replay_buffer(tmp_path / "buffer")
        continued = [SACARDAE.load(tmp_path / "model", env=model.get_env()) for _ in range(2)]
        with_graph(continued[1])
        for other in continued:
            assert isinstance(other.update_networks, GraphedStep) == (other is continued[1])
            other.load_replay_buffer(tmp_path / "buffer")
            learn(other, 6)
        assert_same_training(continued[0], continued[1], 1e-6)


def test_set_parameters_discards_the_recording() -> None:
    """The optimizers' state is in other memory after ``set_parameters``."""
    model = make()
    tape = with_graph(model)
    learn(model, 15)
    model.set_parameters(model.get_parameters())
    tape.events.clear()
    learn(model, 4)
    assert tape.events == ["warm-up"] * 3 + ["record", "replay"]


@pytest.mark.slow
def test_compiled_training(tmp_path: Path) -> None:
    plain, compiled = make(compile=False), make(compile=True)
    for model in (plain, compiled):
        learn(model, 15)
    for function in ("_encode_states", "_score_samples", "target_q_values", "_actor_loss"):
        assert isinstance(getattr(compiled, function), CompiledFunction)
        assert getattr(compiled, function)._compiled is not None
    assert_same_training(plain, compiled, 1e-5)

    compiled.save(tmp_path / "model")
    compiled.save_replay_buffer(tmp_path / "buffer")
    load: Callable[..., SACARDAE] = SACARDAE.load
    with_and_without = [load(tmp_path / "model"), load(tmp_path / "model", compile=False)]
    assert with_and_without[0].compile and not with_and_without[1].compile
    for model in with_and_without:
        model.set_env(compiled.get_env())  # type: ignore[arg-type]
        model.load_replay_buffer(tmp_path / "buffer")
        learn(model, 5)
    assert_same_training(with_and_without[0], with_and_without[1], 1e-5)


@pytest.mark.parametrize("entropy", ["score", "distance"])
def test_the_estimator_is_compiled_if_there_is_one(entropy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []
    monkeypatch.setattr(ARDAE, "compile_updates", lambda _: compiled.append(True))
    make(policy_kwargs={"entropy": entropy}, compile=True)
    assert compiled == ([True] if entropy == "score" else [])
