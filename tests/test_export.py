"""Exported policies compute the actions of `predict`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl import SACARDAE, SACNF
from ardae_rl.export import (
    DeterministicPolicy,
    _cholesky_ex,
    _solve_triangular,
    export_onnx,
    export_program,
)

MODELS: dict[str, Any] = {
    "sac_ardae": lambda: SACARDAE("MlpPolicy", "Pendulum-v1", buffer_size=10, seed=0),
    "sac_ardae-2d": lambda: SACARDAE("MlpPolicy", "ardae_envs:ardae/MultiGoal-v0", buffer_size=10, seed=0),
    "sac_nf": lambda: SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10, seed=0),
    "ppo": lambda: PPO("MlpPolicy", "Pendulum-v1", seed=0),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> BaseAlgorithm:
    trained: BaseAlgorithm = MODELS[request.param]()
    return trained


def observations(model: BaseAlgorithm) -> Any:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (5, *(model.observation_space.shape or ()))).astype(np.float32)


def expected(model: BaseAlgorithm) -> Any:
    return model.predict(observations(model), deterministic=True)[0]


def test_module(model: BaseAlgorithm) -> None:
    with th.no_grad():
        actions = DeterministicPolicy(model.policy)(th.as_tensor(observations(model)))
    np.testing.assert_allclose(actions, expected(model), atol=1e-5)


def test_program(model: BaseAlgorithm, tmp_path: Path) -> None:
    th.export.save(export_program(model, batch_size=5), tmp_path / "policy.pt2")
    with th.no_grad():
        actions = th.export.load(tmp_path / "policy.pt2").module()(th.as_tensor(observations(model)))
    np.testing.assert_allclose(actions, expected(model), atol=1e-4)


def test_onnx(model: BaseAlgorithm, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = export_onnx(model, tmp_path / "policy.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actions = [session.run(["action"], {"observation": row[None]})[0][0] for row in observations(model)]
    np.testing.assert_allclose(actions, expected(model), atol=1e-4)


def test_linear_algebra() -> None:
    factor = th.randn(3, 4, 4, generator=th.Generator().manual_seed(0))
    matrix, right = factor @ factor.mT + th.eye(4), th.randn(3, 4, 2, generator=th.Generator().manual_seed(1))
    lower = th.linalg.cholesky(matrix)
    th.testing.assert_close(_cholesky_ex(matrix).L, lower)
    for upper, triangle in ((False, lower), (True, lower.mT)):
        solution = th.linalg.solve_triangular(triangle, right, upper=upper)
        th.testing.assert_close(_solve_triangular(triangle, right, upper=upper), solution)


def test_dictionaries_are_refused() -> None:
    from gymnasium import spaces

    policy = SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10).policy
    policy.observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (2,))})
    with pytest.raises(ValueError, match=r"`policy` must have observations in a Box"):
        DeterministicPolicy(policy)
