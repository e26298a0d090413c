"""Comparisons of trained models: parameters, states, predictions."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy

from ardae_rl import SACARDAE, SACNF, SACGaussian

Model = SACARDAE | SACNF | SACGaussian


def temperature(model: Model) -> th.Tensor:
    """Return the temperature α, without gradient."""
    return model.ent_coef_tensor if model.log_ent_coef is None else model.log_ent_coef.detach().exp()


def parameters(model: Model) -> dict[str, th.Tensor]:
    """Return copies of all parameters and buffers, and of the temperature, by name."""
    state = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    state["ent_coef"] = temperature(model).clone()
    return state


def changed(before: dict[str, th.Tensor], after: dict[str, th.Tensor]) -> set[str]:
    """Return the networks whose tensors differ, such as "actor", "critic" or "estimator"."""
    assert before.keys() == after.keys()
    return {name.split(".")[0] for name in before if not th.equal(before[name], after[name])}


def assert_equal_states(one: Any, other: Any) -> None:
    """Assert that nested dictionaries and lists of tensors and numbers are equal."""
    if isinstance(one, th.Tensor):
        assert th.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal_states(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal_states(*pair)
    else:
        assert one == other


def assert_same_predictions(one: Model | BasePolicy, other: Model | BasePolicy) -> None:
    one.observation_space.seed(0)
    for _ in range(5):
        observation = one.observation_space.sample()
        for deterministic in (True, False):
            th.manual_seed(0)
            action, _ = one.predict(observation, deterministic=deterministic)
            th.manual_seed(0)
            assert np.array_equal(action, other.predict(observation, deterministic=deterministic)[0])
