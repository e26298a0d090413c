"""Collection policies: the distribution of their actions, and a state per environment."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from ardae_envs.collection import Brownian, CollectionPolicy, Hold, Mixture, RandomWeights, StickyRandom

CAR = spaces.Box(np.array([-1.0, 0.0, 0.0], np.float32), np.array([1.0, 1.0, 1.0], np.float32))
OBSERVATIONS = np.zeros((4, 8, 8, 3), np.uint8)
POLICIES: dict[str, Any] = {
    "sticky": lambda space: StickyRandom(space, seed=0),
    "hold": lambda space: Hold(space, seed=0),
    "brownian": lambda space: Brownian(space, seed=0),
    "normal weights": lambda space: RandomWeights(space, seed=0),
    "cauchy weights": lambda space: RandomWeights(space, "cauchy", (0.0, 0.1), seed=0),
}


def rollout(policy: Any, steps: int, n: int = 4) -> np.ndarray:
    """Return the actions (steps, n, ...) of episodes that do not end."""
    rng, state, actions = np.random.default_rng(1), None, []
    for _ in range(steps):
        action, state = policy.predict(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), state)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("space", [CAR, spaces.Discrete(3, start=-1)], ids=["box", "discrete"])
@pytest.mark.parametrize("name", POLICIES)
def test_actions_are_in_the_space(name: str, space: spaces.Space[Any]) -> None:
    """Of the right type, everywhere in the space, reproducible by the seed, independent between environments."""
    if name == "brownian" and isinstance(space, spaces.Discrete):
        pytest.skip("needs a continuous space")
    actions = rollout(POLICIES[name](space), 300)
    assert all(space.contains(action) for action in actions.reshape(-1, *space.shape or ()))
    np.testing.assert_array_equal(actions, rollout(POLICIES[name](space), 300))
    assert (actions[:, 0] != actions[:, 1]).any()
    if "weights" not in name:
        spread = np.ptp(actions.reshape(-1, *space.shape or ()), axis=0)
        assert (spread > 0.9 * (2 if isinstance(space, spaces.Discrete) else space.high - space.low)).all()  # type: ignore[attr-defined]


def test_sticky() -> None:
    """Repeated with the given probability; one axis moves and the others stay at zero."""
    actions = rollout(StickyRandom(CAR, stickiness=0.75, seed=0), 2000)
    kept = (actions[1:] == actions[:-1]).all(-1).mean()
    assert kept == pytest.approx(0.75, abs=0.02)
    assert ((actions != 0).sum(-1) <= 1).all()
    assert ((actions != 0).mean((0, 1)) > 0.28).all(), "each axis a third of the time"
    both = rollout(StickyRandom(CAR, one_axis=False, seed=0), 100)
    assert ((both != 0).sum(-1) == 3).mean() > 0.99


def test_hold() -> None:
    actions = rollout(Hold(spaces.Box(-1, 1, (1,)), 3, 5, seed=0), 3000, n=1)[:, 0, 0]
    lengths = np.diff(np.flatnonzero(np.diff(actions)))
    assert set(lengths.tolist()) == {3, 4, 5}
    assert np.bincount(lengths)[3:] / len(lengths) == pytest.approx(np.full(3, 1 / 3), abs=0.06)


def test_brownian() -> None:
    """Away from the bounds, steps have the given standard deviation."""
    actions = rollout(Brownian(spaces.Box(-10, 10, (1,)), step=0.01, seed=0), 3000)[..., 0]
    inside = np.abs(actions[:-1]) < 9
    assert np.diff(actions, axis=0)[inside].std() == pytest.approx(0.1, rel=0.05)
    assert np.abs(actions).max() <= 10


def test_random_weights_are_one_function_an_episode() -> None:
    """Equal observations give equal actions until a new episode starts; only that environment then changes."""
    policy = RandomWeights(CAR, seed=0)
    observations = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    first, state = policy.predict(observations)
    again, state = policy.predict(observations, state, np.zeros(3, bool))
    np.testing.assert_array_equal(again, first)
    later, _ = policy.predict(observations, state, np.array([False, True, False]))
    np.testing.assert_array_equal((later != first).any(1), [False, True, False])


@pytest.mark.parametrize("name", POLICIES)
def test_states_begin_anew_where_an_episode_does(name: str) -> None:
    policy = POLICIES[name](CAR)
    _, state = policy.predict(OBSERVATIONS)
    start = np.array([True, False, False, True])
    _, after = policy.predict(OBSERVATIONS, state, start)
    assert after is not None and all(len(part) == 4 for part in after)


def test_mixture() -> None:
    """One policy per episode, with the given weights; SB3 models can be among them."""

    class Constant(CollectionPolicy):
        def __init__(self, value: float) -> None:
            super().__init__(CAR)
            self.value = value

        def _initial_state(self, n: int) -> Any:
            return ()

        def _act(self, observation: Any, state: Any) -> Any:
            return np.full((len(observation), 1), self.value), state

    mixture = Mixture([Constant(0.0), Constant(1.0)], weights=[3, 1], seed=0)
    observations = np.zeros((2000, 1))
    first, state = mixture.predict(observations)
    assert first.mean() == pytest.approx(0.25, abs=0.03)
    same, state = mixture.predict(observations, state, np.zeros(2000, bool))
    np.testing.assert_array_equal(same, first)
    start = np.arange(2000) < 1000
    other, _ = mixture.predict(observations, state, start)
    np.testing.assert_array_equal(other[1000:], first[1000:])
    assert (other[:1000] != first[:1000]).any()

    env = make_vec_env("Pendulum-v1", n_envs=2, seed=0)
    model = PPO("MlpPolicy", env, device="cpu", n_steps=8, batch_size=8)
    with_model = Mixture([model, StickyRandom(env.action_space, seed=0)], seed=0)
    returns, lengths = evaluate_policy(with_model, env, 4, return_episode_rewards=True, warn=False)
    assert lengths == [200] * 4 and len(set(returns)) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sticky", "hold", "brownian", "mixture"])
def test_dictionaries(name: str) -> None:
    """There is one action per environment, not per key, and it is the one for an array."""
    observations = {"achieved_goal": np.zeros((4, 2)), "desired_goal": np.zeros((4, 2)), "observation": OBSERVATIONS}

    def actions(observation: Any) -> Any:
        policy = Mixture([Hold(CAR, seed=0)], seed=0) if name == "mixture" else POLICIES[name](CAR)
        first, state = policy.predict(observation)
        return np.stack([first, policy.predict(observation, state, np.array([True, False, False, True]))[0]])

    assert actions(observations).shape == (2, 4, 3)
    np.testing.assert_array_equal(actions(observations), actions(OBSERVATIONS))


def test_random_weights_refuse_dictionaries() -> None:
    message = r"`observation` must be an array, got a dictionary with the keys \['a', 'b'\]"
    with pytest.raises(ValueError, match=message):
        RandomWeights(CAR, seed=0).predict({"b": OBSERVATIONS, "a": OBSERVATIONS})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StickyRandom(spaces.MultiBinary(2)), "`action_space` must be Box or Discrete, got MultiBinary"),
        (lambda: StickyRandom(CAR, stickiness=1.0), "`stickiness` must be >= 0 and < 1, got 1.0"),
        (lambda: Hold(CAR, 3, 2), "`max_steps` must be >= 3, got 2"),
        (lambda: Brownian(spaces.Discrete(2)), r"`action_space` must be Box, got Discrete\(2\)"),
        (lambda: Brownian(CAR, 0.0), "`step` must be positive, got 0.0"),
        (lambda: RandomWeights(CAR, "uniform"), "`distribution` must be one of 'normal', 'cauchy', got 'uniform'"),
        (
            lambda: RandomWeights(CAR, scales=(1.0, 0.5)),
            r"`scales` must be two ascending numbers >= 0, got \(1.0, 0.5\)",
        ),
        (lambda: Mixture([]), "`policies` must not be empty"),
        (lambda: Mixture([StickyRandom(CAR)], [0.0]), "`weights` must be 1 numbers >= 0"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_on_the_environment() -> None:
    env = make_vec_env("ardae/CarRacingLowRes-v0", n_envs=2, seed=0)
    policy, state, observation = StickyRandom(env.action_space, seed=0), None, env.reset()
    for _ in range(5):
        actions, state = policy.predict(observation, state)  # type: ignore[arg-type]
        observation = env.step(actions)[0]
    env.close()
    assert gym.spec("ardae/CarRacingLowRes-v0").max_episode_steps == 1000
