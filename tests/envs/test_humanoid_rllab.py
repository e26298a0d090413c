"""The humanoid with rllab's reward: checkers, terms of the reward by hand, ends of episodes, pickling, a short run."""

import pickle
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3 import SAC
from stable_baselines3.common.env_checker import check_env as check_sb3

import ardae_envs  # noqa: F401
from ardae_rl import SACARDAE, SACNF

ENV_ID = "ardae/HumanoidRllab-v0"


@pytest.fixture
def env() -> Any:
    env = gym.make(ENV_ID)
    yield env
    env.close()


@pytest.mark.filterwarnings("ignore:.*symmetric and normalized.*")
def test_checkers(env: Any) -> None:
    check_gymnasium(env.unwrapped, skip_render_check=True)
    check_sb3(env)
    assert env.spec.max_episode_steps == 1000
    assert env.action_space.shape == (17,)


def test_reward(env: Any) -> None:
    """Each term, from the simulator's state; the center of mass and its velocity are sums over the bodies."""
    env.reset(seed=0)
    model, data = env.unwrapped.model, env.unwrapped.data
    rng = np.random.default_rng(0)
    total_contact = 0.0
    for _ in range(40):
        action = rng.uniform(-0.4, 0.4, 17).astype(np.float32)
        obs, reward, terminated, _, info = env.step(action)
        velocity, center = np.zeros(3), np.zeros(3)
        for body in range(1, model.nbody):
            both = np.zeros(6)  # rotational, then translational
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, both, 0)
            velocity += model.body_mass[body] * both[3:] / model.body_mass.sum()
            center += model.body_mass[body] * data.xipos[body] / model.body_mass.sum()
        control = 0.5e-3 * np.sum((action / 0.4) ** 2)
        contact = 0.5e-5 * np.sum(np.clip(data.cfrc_ext, -1, 1) ** 2)
        expected = velocity[0] + 0.2 - control - contact - 0.5e-2 * np.sum(velocity[1:] ** 2)
        assert reward == pytest.approx(expected, abs=1e-7)
        parts = np.split(obs, [24, 47, 131])
        np.testing.assert_allclose(parts[0], data.qpos)
        np.testing.assert_allclose(parts[1], data.qvel)
        assert np.abs(parts[2]).max() <= 1
        np.testing.assert_allclose(parts[3], center, atol=1e-10)
        assert info["x_position"] == parts[3][0]
        assert terminated == (not 0.8 <= data.qpos[2] <= 2.0)
        total_contact += contact
    assert total_contact > 0  # it has fallen to the floor


def test_quantities_belong_to_the_present_state(env: Any) -> None:
    """The velocity in the reward is the derivative of the observed center of mass."""
    env.reset(seed=1)
    base = env.unwrapped
    obs, _, _, _, info = env.step(np.zeros(17, np.float32))
    step = 1e-6
    base.data.qpos[:] = obs[:24]
    mujoco.mj_integratePos(base.model, base.data.qpos, base.data.qvel, step)
    mujoco.mj_forward(base.model, base.data)
    speed = (base.data.subtree_com[1, 0] - obs[-3]) / step
    assert info["reward_forward"] == pytest.approx(speed, rel=1e-4)


@pytest.mark.parametrize(("height", "terminated"), [(0.7, True), (1.2, False), (2.5, True)])
def test_ends(env: Any, height: float, terminated: bool) -> None:
    env.reset(seed=0)
    base = env.unwrapped
    qpos = base.init_qpos.copy()
    qpos[2] = height
    base.set_state(qpos, base.init_qvel)
    assert env.step(np.zeros(17, np.float32))[2] == terminated


def test_starts(env: Any) -> None:
    """Normal noise around the initial state; seeds reproduce it."""
    starts = np.array([env.reset(seed=k)[0] for k in range(100)])
    base = env.unwrapped
    np.testing.assert_allclose((starts[:, :24] - base.init_qpos).std(), 0.01, rtol=0.1)
    np.testing.assert_allclose(starts[:, 24:47].std(), 0.1, rtol=0.1)
    assert np.array_equal(env.reset(seed=3)[0], starts[3])


def test_pickle(env: Any) -> None:
    copy = pickle.loads(pickle.dumps(env.unwrapped))
    assert np.array_equal(copy.reset(seed=0)[0], env.reset(seed=0)[0])


@pytest.mark.parametrize("algorithm", [SAC, SACNF, SACARDAE])
def test_short_run(algorithm: Any) -> None:
    kwargs = {"score_warmup": 2} if algorithm is SACARDAE else {}
    small = {"net_arch": [16, 16]}
    model = algorithm("MlpPolicy", ENV_ID, learning_starts=50, batch_size=16, policy_kwargs=small, seed=0, **kwargs)
    model.learn(70)
    assert model._n_updates == 20
