"""Learned rewards in environment steps and in replay buffers, for a reward that is known in closed form."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.her import HerReplayBuffer

from ardae_rl.irl.relabelling import (
    Relabelling,
    RelabellingDictReplayBuffer,
    RelabellingHerReplayBuffer,
    RelabellingReplayBuffer,
    relabelling_buffer,
)
from ardae_rl.irl.reward_wrapper import RewardVecEnvWrapper, VecStep
from ardae_rl.irl.transitions import Transitions
from tests.irl.counting import Counting


def by_hand(step: VecStep) -> np.ndarray:
    """100 s + 10 s' + a, and 1000 at a terminal state."""
    first, after = step.observations[:, 0], step.next_observations[:, 0]
    value: np.ndarray = 100 * first + 10 * after + step.actions[:, 0] + 1000 * step.terminated
    return value.astype(np.float32)


@pytest.mark.parametrize("ends", [False, True])
def test_steps(ends: bool) -> None:
    """The reward is of this episode's observations, also where the environment gives the next one's first."""
    env = RewardVecEnvWrapper(make_vec_env(lambda: Counting(ends=ends), 2), by_hand)
    env.reset()
    length = 3 if ends else 5
    for t in range(2 * length):
        k = t % length
        _, rewards, dones, infos = env.step(np.array([[0.5], [1.5]], np.float32))
        expected = 100 * k + 10 * (k + 1) + np.array([0.5, 1.5]) + 1000 * (ends and k == 2)
        np.testing.assert_allclose(rewards, expected)
        assert [info["original_reward"] for info in infos] == [k + 1, k + 1]
        assert dones.all() == (k == length - 1)
    assert infos[0]["episode"]["r"] == sum(range(1, length + 1))  # the log shows the original reward


def of_batch(transitions: Transitions) -> th.Tensor:
    vector: Any = transitions.observations, transitions.next_observations
    first, after = (part["vector"] if isinstance(part, dict) else part for part in vector)
    return 100 * first[:, 0] + 10 * after[:, 0] + transitions.actions[:, 0] + 1000 * transitions.terminated


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("ends", [False, True])
def test_buffers(as_dict: bool, ends: bool) -> None:
    """Rewards are computed at sampling, from actions in the environment's range, by the current function."""
    buffer_class = RelabellingDictReplayBuffer if as_dict else RelabellingReplayBuffer
    model = SAC(
        "MultiInputPolicy" if as_dict else "MlpPolicy",
        Counting(ends=ends, as_dict=as_dict),
        replay_buffer_class=buffer_class,
        learning_starts=50,
        seed=0,
    )
    model.learn(50)
    buffer: Any = model.replay_buffer
    buffer.reward = of_batch
    batch = buffer.sample(300)
    first, after = ((part["vector"] if as_dict else part) for part in (batch.observations, batch.next_observations))
    # The second number of the next observation is the action in the environment's range
    expected = 100 * first[:, 0] + 10 * after[:, 0] + after[:, 1] + 1000 * batch.dones.flatten()
    th.testing.assert_close(batch.rewards.flatten(), expected, atol=1e-3, rtol=0)
    assert bool(batch.dones.any()) == ends
    buffer.reward = lambda transitions: th.zeros(len(transitions.actions))
    assert not buffer.sample(10).rewards.any()


def test_hindsight() -> None:
    """The reward sees the substituted goals."""
    env = BitFlippingEnv(n_bits=4, continuous=False, max_steps=4)
    buffer_class: Any = relabelling_buffer(HerReplayBuffer, env.observation_space)
    model = DQN(
        "MultiInputPolicy",
        env,
        replay_buffer_class=buffer_class,
        learning_starts=40,
        seed=0,
    )
    model.learn(40)
    buffer: Any = model.replay_buffer

    def achieved(transitions: Transitions) -> th.Tensor:
        after: Any = transitions.next_observations
        return (after["achieved_goal"] == after["desired_goal"]).all(-1).float()

    buffer.reward = achieved
    batch = buffer.sample(400)
    th.testing.assert_close(
        batch.rewards.flatten(), achieved(Transitions({}, batch.actions, batch.next_observations, batch.dones))
    )
    assert 0.05 < float(batch.rewards.mean()) < 0.95
    assert (batch.observations["desired_goal"] != th.as_tensor(env.desired_goal)).any()


def test_saved_buffers_leave_the_reward_out() -> None:
    model = SAC("MlpPolicy", Counting(), replay_buffer_class=RelabellingReplayBuffer, learning_starts=20)
    model.learn(20)
    buffer: Any = model.replay_buffer
    buffer.reward = lambda transitions: th.zeros(len(transitions.actions))  # which could not be pickled
    file = io.BytesIO()
    pickle.dump(buffer, file)
    file.seek(0)
    loaded = pickle.load(file)
    assert loaded.reward is None
    np.testing.assert_array_equal(loaded.observations, buffer.observations)


def test_classes() -> None:
    plain, as_dict = Counting().observation_space, Counting(as_dict=True).observation_space
    assert relabelling_buffer(None, plain) is RelabellingReplayBuffer
    assert relabelling_buffer(None, as_dict) is RelabellingDictReplayBuffer
    assert relabelling_buffer(ReplayBuffer, plain) is RelabellingReplayBuffer
    assert relabelling_buffer(DictReplayBuffer, as_dict) is RelabellingDictReplayBuffer
    assert relabelling_buffer(HerReplayBuffer, as_dict) is RelabellingHerReplayBuffer
    assert relabelling_buffer(RelabellingReplayBuffer, plain) is RelabellingReplayBuffer
    assert issubclass(RelabellingReplayBuffer, Relabelling)
    with pytest.raises(ValueError, match=r"`replay_buffer_class` must be one of ReplayBuffer, .* got NStep"):
        relabelling_buffer(NStepReplayBuffer, plain)


def test_action_space_of_two_axes() -> None:
    """Buffers store such actions flattened and rescaled; the reward gets them in the environment's shape and range."""
    low = np.array([[-1.0, -2.0, 0.0], [0.0, 1.0, -3.0]], np.float32)
    space = spaces.Box(low, low + 4)
    buffer = RelabellingReplayBuffer(10, spaces.Box(-1, 1, (2,)), space, device="cpu")
    observation = np.zeros((1, 2), np.float32)
    buffer.add(observation, observation, np.full((1, 6), 0.5, np.float32), np.zeros(1), np.zeros(1, bool), [{}])
    seen: list[th.Tensor] = []

    def reward(transitions: Transitions) -> th.Tensor:
        seen.append(transitions.actions)
        return th.zeros(len(transitions.actions))

    buffer.reward = reward
    buffer.sample(3)
    np.testing.assert_allclose(seen[0], np.broadcast_to(low + 3, (3, 2, 3)))
