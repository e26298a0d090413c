"""The policy through SB3's interface: states, batches, saving, the official environment."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from ardae_rl.world_models.action_map import make_action_map
from ardae_rl.world_models.frame_policy import Decisions, channels_last
from ardae_rl.world_models.policies import CONTROLLER_INPUTS, POSTERIORS, WorldModelPolicy

FRAMES = spaces.Box(0, 255, (96, 96, 3), np.uint8)
CAR = spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))


def policy(action_space: spaces.Space[Any] = CAR, seed: int = 0, **arguments: Any) -> WorldModelPolicy:
    """Return a policy with random parameters large enough for actions that differ."""
    th.manual_seed(seed)
    result = WorldModelPolicy(FRAMES, action_space, z_dim=4, vision_width=4, memory_hidden=8, **arguments)
    result.controller_parameters.data.normal_(0, 3)
    return result


def frames(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("controller_input", CONTROLLER_INPUTS)
@pytest.mark.parametrize("space", [CAR, spaces.Discrete(3, start=1), spaces.Box(-2, 5, (2, 2))], ids=str)
def test_actions_are_in_the_space(space: spaces.Space[Any], controller_input: str) -> None:
    model = policy(space, controller_input=controller_input, cropped_rows=12)
    actions, state = model.predict(frames(5))
    assert len(actions) == 5 and all(space.contains(action) for action in actions)
    shapes = [(5, 64, 64, 12)] if controller_input == "frames" else [(5, 8), (5, 8)]
    assert state is not None and [part.shape for part in state] == shapes
    single, _ = model.predict(frames(5)[0], deterministic=True)
    assert space.contains(single)


def test_state() -> None:
    """It influences the action, is reset at the start of an episode, and is separate for each environment."""
    model = policy()
    _, state = model.predict(frames(3), deterministic=True)
    first, _ = model.predict(frames(3, 1), None, None, deterministic=True)
    later, _ = model.predict(frames(3, 1), state, np.zeros(3, dtype=bool), deterministic=True)
    mixed, _ = model.predict(frames(3, 1), state, np.array([False, True, False]), deterministic=True)
    assert not np.allclose(first, later)
    np.testing.assert_allclose(mixed, np.where([[False], [True], [False]], first, later), atol=1e-6)
    alone, _ = model.predict(frames(3, 1)[:1], tuple(part[:1] for part in state or ()), np.zeros(1), True)
    np.testing.assert_allclose(alone, later[:1], atol=1e-6)


@pytest.mark.parametrize("names", sorted(set(CONTROLLER_INPUTS) - {"frames"}))
def test_features(names: str) -> None:
    """The latent, followed by the states of the memory that ``controller_input`` names."""
    values = {"z": th.randn(2, 4), "h": th.randn(2, 8), "c": th.randn(2, 8)}
    features = policy(controller_input=names).features(values["z"], (values["h"], values["c"]))
    th.testing.assert_close(features, th.cat([values[name] for name in names], 1), rtol=0, atol=0)


def test_the_memory_is_told_the_executed_action() -> None:
    model = policy()
    observation = frames(1)
    action, state = model.predict(observation, deterministic=True)
    z, zeros = model.latents(observation), model.memory.initial_state(1)
    h, _ = model.memory.step(z, th.as_tensor(model.action_map.inputs(action)), zeros)
    assert state is not None
    np.testing.assert_allclose(state[0], h.detach().numpy(), atol=1e-6)
    assert action[0, 1] == 0 or action[0, 2] == 0, "never gas and brake together"


def test_the_controller_is_not_trained_by_gradients() -> None:
    """It is evolved; everything else is trained."""
    frozen = [name for name, parameter in policy().named_parameters() if not parameter.requires_grad]
    assert frozen == ["controller_parameters"]


def test_controllers_of_a_population() -> None:
    model = policy()
    parameters = np.random.default_rng(0).normal(0, 3, (3, model.n_parameters))
    actions, _ = model.act(parameters, frames(3), None, np.ones(3, dtype=bool))
    for i in range(3):
        model.controller_parameters.data = th.as_tensor(parameters[i], dtype=th.float32)
        np.testing.assert_allclose(model.predict(frames(3)[i : i + 1], deterministic=True)[0][0], actions[i], atol=1e-6)


def test_deterministic_is_the_mean() -> None:
    model = policy()
    model.vision.posterior.bias.data[4:] = 1.0
    with th.no_grad():
        mean, _ = model.vision.encode(th.from_numpy(model.preprocess(frames(2))))
        th.testing.assert_close(model.latents(frames(2)), mean)
    draws = np.stack([model.predict(frames(1), deterministic=False)[0] for _ in range(3)])
    means = np.stack([model.predict(frames(1), deterministic=True)[0] for _ in range(3)])
    assert not (draws == draws[0]).all() and (means == means[0]).all()


def test_tensors() -> None:
    """As SB3 calls a policy from within."""
    model = policy()
    actions = model._predict(th.from_numpy(frames(2)), deterministic=True)
    np.testing.assert_array_equal(actions, model.predict(frames(2), deterministic=True)[0])


def test_channels_first() -> None:
    """SB3's VecTransposeImage transposes frames so."""
    model = policy()
    np.testing.assert_array_equal(
        model.predict(frames(2).transpose(0, 3, 1, 2), deterministic=True)[0],
        model.predict(frames(2), deterministic=True)[0],
    )


def test_held_actions() -> None:
    """Each environment decides at its first frame and at every third one, by the memory of these alone."""
    model, holding = policy(), policy(action_repeat=3)
    states: list[Any] = [None, None]
    held: Any = None
    start_of_second = 2
    for t in range(8):
        observation, start = frames(2, seed=t), np.array([t == 0, t in (0, start_of_second)])
        actions, held = holding.predict(observation, held, start, deterministic=True)
        for i, begun in enumerate((0, start_of_second if t >= start_of_second else 0)):
            if (t - begun) % 3 == 0:
                before = None if t == begun else states[i][1]
                states[i] = model.predict(observation[i : i + 1], before, np.array([t == begun]), deterministic=True)
            np.testing.assert_allclose(actions[i], states[i][0][0], atol=1e-6)
    direct, _ = Decisions(holding).predict(frames(2), None, np.ones(2, bool), True)
    np.testing.assert_array_equal(direct, holding.predict(frames(2), deterministic=True)[0])
    with pytest.raises(ValueError, match="`action_repeat` must be >= 1, got 0"):
        policy(action_repeat=0)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_save_and_load(posterior: str, tmp_path: Path) -> None:
    others: dict[str, Any] = {"controller_hidden": (5,), "cropped_rows": 12, "n_components": 2, "action_repeat": 2}
    model = policy(controller_input="zch", posterior=posterior, **others)
    model.save(str(tmp_path / "policy.pt"))
    loaded = WorldModelPolicy.load(str(tmp_path / "policy.pt"))
    np.testing.assert_array_equal(
        loaded.predict(frames(2), deterministic=True)[0], model.predict(frames(2), deterministic=True)[0]
    )


def test_drives_the_official_environment() -> None:
    env = gym.make("CarRacing-v3", max_episode_steps=5)
    returns, lengths = evaluate_policy(policy(), env, n_eval_episodes=2, return_episode_rewards=True, warn=False)
    assert lengths == [5, 5] and np.isfinite(returns).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"controller_input": "h"}, "`controller_input` must be one of 'z', 'zh', 'zc', 'zch', 'frames', got 'h'"),
        ({"posterior": "flow"}, "`posterior` must be one of 'gaussian', 'implicit', got 'flow'"),
        ({"cropped_rows": 96}, "`cropped_rows` must be between 0 and 95, got 96"),
        ({"action_map": "both"}, "`action_map` must be one of 'auto', .* got 'both'"),
        ({"action_map": "one_axis"}, "`action_space` must be Discrete for the action map 'one_axis', got Box"),
        (
            {"action_space": spaces.Discrete(2), "action_map": "identity"},
            "`action_space` must be a bounded Box for the action map 'identity', got Discrete",
        ),
        (
            {"action_space": spaces.Discrete(2), "action_map": "steer_and_pedal"},
            "`action_space` must be CarRacing's for the action map",
        ),
        ({"action_space": spaces.Box(-np.inf, 1, (1,))}, "`action_space` must be a bounded Box for the action map"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(**arguments)


@pytest.mark.parametrize("controller_input", ["zh", "frames"])
def test_a_width_is_no_sequence_of_them(controller_input: str) -> None:
    with pytest.raises(TypeError, match="`controller_hidden` must be a sequence of widths, got 8"):
        policy(controller_input=controller_input, controller_hidden=8)


def test_rows_that_can_be_cropped() -> None:
    """All but one of the frame's, whose height need not be its width."""
    tall = spaces.Box(0, 255, (96, 40, 3), np.uint8)
    assert WorldModelPolicy(tall, CAR, z_dim=2, vision_width=4, memory_hidden=4, cropped_rows=95).cropped_rows == 95
    with pytest.raises(ValueError, match="`cropped_rows` must be between 0 and 39, got 40"):
        WorldModelPolicy(spaces.Box(0, 255, (40, 96, 3), np.uint8), CAR, cropped_rows=40)


def test_bad_observations() -> None:
    with pytest.raises(ValueError, match="`observation_space` must be uint8 frames"):
        WorldModelPolicy(spaces.Box(0, 1, (4,)), CAR)
    with pytest.raises(
        ValueError, match=r"`observation` must be uint8 of shape \(n, 96, 96, 3\), got float64 of \(1, 96, 96, 3\)"
    ):
        policy().predict(np.zeros((96, 96, 3)))
    with pytest.raises(
        ValueError, match=r"`observation` must be uint8 of shape \(n, 96, 96, 3\), got uint8 of \(2, 80, 96, 3\)"
    ):
        policy().predict(np.zeros((2, 80, 96, 3), np.uint8))


def test_action_maps() -> None:
    """Outputs cover the whole range of each axis; the memory receives the stored actions, real or one-hot."""
    space = spaces.Box(-2, 5, (2, 2))
    identity = make_action_map("identity", space)
    ends = identity.actions(np.array([[-1, 0, 1, 1]], np.float32))
    np.testing.assert_allclose(ends, np.array([[[-2, 1.5], [5, 5]]]))
    np.testing.assert_allclose(identity.inputs(ends), [[-2, 1.5, 5, 5]])
    one_axis = make_action_map("auto", spaces.Discrete(3, start=1))
    actions = one_axis.actions(np.array([[-0.5], [0.0], [0.5]], np.float32))
    np.testing.assert_array_equal(actions, [1, 2, 3])
    np.testing.assert_array_equal(one_axis.inputs(actions), np.eye(3))


@pytest.mark.parametrize(
    ("name", "space", "n_outputs"),
    [
        ("identity", spaces.Box(np.array([[-2, 0], [3, -1]], np.float32), np.array([[5, 1], [4, 0]], np.float32)), 4),
        ("auto", CAR, 2),
        ("auto", spaces.Discrete(4, start=1), 1),
    ],
)
def test_action_maps_of_tensors(name: str, space: spaces.Space[Any], n_outputs: int) -> None:
    """They equal those of arrays, at the bounds and the thresholds too, which an exported policy depends on."""
    mapping = make_action_map(name, space)
    assert mapping.n_outputs == n_outputs
    outputs = np.array([[-1, -0.5, 0, 0.5], [1, 0.3, -0.2, -0.9]] * 4, np.float32).reshape(-1, n_outputs)
    actions = mapping.actions(outputs)
    of_tensors = mapping.tensor_actions(th.from_numpy(outputs))
    np.testing.assert_allclose(of_tensors.numpy(), actions, atol=1e-6)
    assert all(space.contains(action) for action in actions)
    inputs = mapping.inputs(actions)
    assert inputs.shape == (len(actions), mapping.memory_dim)
    np.testing.assert_allclose(mapping.tensor_inputs(of_tensors).numpy(), inputs, atol=1e-6)


def test_decisions_draw_different_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(th, "manual_seed", seeds.append)
    decisions = Decisions(policy(), seed=0)
    seeds.clear()
    for _ in range(100):
        decisions.predict(frames(1))
    assert len(set(seeds)) == 100 and max(seeds) > 2**32


def test_channels_last() -> None:
    """Transposed frames are turned back, unless both readings have the same shape."""
    rng = np.random.default_rng(0)
    for shape in ((4, 5, 3), (3, 3, 3)):
        space = spaces.Box(0, 255, shape, np.uint8)
        frames = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
        np.testing.assert_array_equal(channels_last(frames, space), frames)
    space = spaces.Box(0, 255, (4, 5, 3), np.uint8)
    frames = rng.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(channels_last(frames.transpose(0, 3, 1, 2), space), frames)
