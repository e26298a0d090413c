"""Exported policies compute the actions of `predict`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl import DVBF, SACARDAE, SACNF, WorldModels
from ardae_rl.export import DeterministicPolicy, WorldModelDecision, export_onnx, export_program
from ardae_rl.export.replacements import cholesky_ex, solve_triangular
from ardae_rl.world_models import WorldModelPolicy

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


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_state_dependent_exploration(algorithm: Any) -> None:
    """Its matrices are part of no exported action, and the model explores as before."""
    model = algorithm("MlpPolicy", "Pendulum-v1", use_sde=True, seed=0, device="cpu")
    owner = model.policy if algorithm is PPO else model.actor
    before = owner.action_dist.exploration_mat.clone()
    program = export_program(model, 5).module()
    np.testing.assert_allclose(program(th.from_numpy(observations(model))).detach(), expected(model), atol=1e-5)
    th.testing.assert_close(owner.action_dist.exploration_mat, before, rtol=0, atol=0)


def test_linear_algebra() -> None:
    factor = th.randn(3, 4, 4, generator=th.Generator().manual_seed(0))
    matrix, right = factor @ factor.mT + th.eye(4), th.randn(3, 4, 2, generator=th.Generator().manual_seed(1))
    lower = th.linalg.cholesky(matrix)
    th.testing.assert_close(cholesky_ex(matrix).L, lower)
    for upper, triangle in ((False, lower), (True, lower.mT)):
        solution = th.linalg.solve_triangular(triangle, right, upper=upper)
        th.testing.assert_close(solve_triangular(triangle, right, upper=upper), solution)


def test_dictionaries_are_refused() -> None:
    policy = SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10).policy
    policy.observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (2,))})
    with pytest.raises(ValueError, match=r"`policy` must have observations in a Box"):
        DeterministicPolicy(policy)


CAR = spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))
ACTIONS = {"car": CAR, "discrete": spaces.Discrete(3, start=1), "matrix": spaces.Box(-2, 5, (2, 2), np.float32)}


def world_model_policy(space: spaces.Space[Any], posterior: str = "gaussian") -> WorldModelPolicy:
    """Return a policy with random parameters large enough for latents and actions that differ."""
    th.manual_seed(0)
    frames = spaces.Box(0, 255, (96, 80, 3), np.uint8)
    sizes: dict[str, Any] = {"z_dim": 4, "vision_width": 4, "memory_hidden": 8}
    policy = WorldModelPolicy(frames, space, posterior=posterior, cropped_rows=12, controller_input="zch", **sizes)
    for weights in (*policy.vision.encoder.parameters(), policy.controller_parameters):
        weights.data.normal_(0, 0.3)
    return policy


def drive(decision: Any, policy: WorldModelPolicy) -> tuple[list[Any], list[Any]]:
    """Return the actions of a decision and of ``decide`` at the same random tiles, each with its own state."""
    rng = np.random.default_rng(0)
    state, reference = tuple(np.zeros((3, 8), np.float32) for _ in range(2)), None
    found, expected = [], []
    for step in range(5):
        frames = rng.integers(0, 256, (3, 24, 20, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
        action, *state = decision(frames, *state)
        exact, reference = policy.decide(frames, reference, np.full(3, step == 0), deterministic=True)
        found.append(np.asarray(action))
        expected.append(exact)
    return found, expected


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
def test_world_model_decision(space: spaces.Space[Any]) -> None:
    policy = world_model_policy(space)
    module = WorldModelDecision(policy)
    with th.no_grad():
        found, expected = drive(lambda *inputs: module(*(th.as_tensor(part) for part in inputs)), policy)
    np.testing.assert_allclose(found, expected, atol=0.01)  # pixels may be rounded to another integer
    assert np.ptp(np.stack(expected), axis=0).max() > 0.3, "the actions differ"


@pytest.mark.parametrize("space", [ACTIONS["car"], ACTIONS["discrete"]], ids=["car", "discrete"])
def test_world_models_to_onnx(space: spaces.Space[Any], tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    policy = world_model_policy(space)
    model: Any = SimpleNamespace(policy=policy)
    session = runtime.InferenceSession(
        str(export_onnx(model, tmp_path / "driver.onnx", batch_size=3)), providers=["CPUExecutionProvider"]
    )

    def decision(frames: Any, h: Any, c: Any) -> Any:
        return session.run(["action", "next_h", "next_c"], {"observation": frames, "h": h, "c": c})

    found, expected = drive(decision, policy)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_implicit_posteriors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`policy` must have a Gaussian posterior, got 'implicit'"):
        WorldModelDecision(world_model_policy(CAR, "implicit"))


@pytest.mark.parametrize("algorithm", [DVBF, WorldModels])
def test_planners_and_other_memories_are_refused(algorithm: Any) -> None:
    """The policies themselves: only a decision of ``WorldModels`` can be exported."""
    env, name = ("CarRacing-v3", "CnnPolicy") if algorithm is WorldModels else ("Pendulum-v1", "MlpPolicy")
    with pytest.raises(ValueError, match=r"`policy` must map an observation to an action without planning or a state"):
        DeterministicPolicy(algorithm(name, env).policy)


def test_recurrent_policies_are_refused() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    model = contrib.RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", n_steps=8)
    with pytest.raises(ValueError, match=r"without planning or a state, got RecurrentActorCriticPolicy|got MlpLstm"):
        DeterministicPolicy(model.policy)


def test_export_leaves_the_model_as_it_is() -> None:
    """On a GPU, the model's policy would otherwise be on another device than its optimizers."""
    model = SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10)
    model.policy.set_training_mode(True)
    parameters = [parameter.data_ptr() for parameter in model.policy.parameters()]
    export_program(model)
    assert model.policy.training and model.actor.training
    assert parameters == [parameter.data_ptr() for parameter in model.policy.parameters()]
