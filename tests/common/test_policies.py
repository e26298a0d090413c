"""Recorded arguments of constructors, the name of runs in TensorBoard, and the mode of policies in queries."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from ardae_rl.common.policies import record_arguments
from ardae_rl.registry import algorithm_class
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


class Noisy(FlattenExtractor):
    """Features that depend on the mode, and on the other rows of a batch in training mode."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.layers = nn.Sequential(nn.BatchNorm1d(space.shape[0]), nn.Dropout(0.5))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.layers(super().forward(observations))
        return features


@pytest.mark.parametrize("algo", ["sac_ardae", "sac_nf", "sac_gaussian"])
def test_queries_are_in_evaluation_mode(algo: str) -> None:
    """As in ``predict``, also after training, whose mode is restored."""
    algorithm: Any = algorithm_class(algo)
    arguments = {"policy_kwargs": {"net_arch": [8], "features_extractor_class": Noisy}, "seed": 0, "device": "cpu"}
    policy = algorithm("MlpPolicy", "Pendulum-v1", learning_starts=20, batch_size=16, **arguments).learn(30).policy
    policy.set_training_mode(True)
    observations, actions = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), np.zeros((5, 1))
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    queries: list[Callable[[], Any]] = [lambda: policy.log_prob(observations, actions)]
    if algo == "sac_ardae":
        tensors = policy.obs_to_tensor(observations)[0]
        queries.append(lambda: policy.moments(tensors).mean)
    for query in queries:
        th.testing.assert_close(query(), query(), rtol=0, atol=0)
    single = policy.log_prob(observations[0], actions[0])
    th.testing.assert_close(single, queries[0]()[0], rtol=1e-4, atol=1e-4)
    policy.entropy(observations[:1])
    assert policy.training and policy.actor.training
    for name, value in policy.state_dict().items():
        th.testing.assert_close(value, before[name], rtol=0, atol=0)
