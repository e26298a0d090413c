"""Recorded arguments of constructors, and the name of runs in TensorBoard."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ardae_rl.common.policies import record_arguments
from tests.sac_ardae.small import make


class Part(nn.Module):
    """A module with all kinds of arguments."""

    constructor_arguments: dict[str, Any]

    @record_arguments
    def __init__(self, width: int, depth: int = 2, **others: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)


class Special(Part):
    """A subclass with a constructor of its own."""

    @record_arguments
    def __init__(self, width: int, factor: float = 0.5) -> None:
        super().__init__(width, depth=7, name="special")


def test_arguments_are_recorded_by_name_with_defaults() -> None:
    assert Part(3).constructor_arguments == {"width": 3, "depth": 2}
    assert Part(3, 4, name="a").constructor_arguments == {"width": 3, "depth": 4, "name": "a"}
    assert Special(3).constructor_arguments == {"width": 3, "factor": 0.5}


@pytest.mark.parametrize("part", [Part(3, name="a"), Special(2)])
def test_modules_are_rebuilt_and_copied(part: Part) -> None:
    for other in (type(part)(**part.constructor_arguments), copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert other.constructor_arguments == part.constructor_arguments
        other.load_state_dict(part.state_dict())


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^Special\.__init__\(\) got an unexpected keyword argument 'depht'"):
        Special(3, depht=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^ImplicitActor\.__init__\(\) got an unexpected .* 'noise_dimension'"):
        make(policy_kwargs={"noise_dimension": 3})


@pytest.mark.parametrize(("arguments", "folder"), [({}, "SACARDAE_1"), ({"tb_log_name": "mine"}, "mine_1")])
def test_runs_are_named_after_their_algorithm(arguments: dict[str, str], folder: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    make(tensorboard_log=str(tmp_path)).learn(12, **arguments)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == [folder]
