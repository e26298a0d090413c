"""Densities accept observations and actions as environments return them, and refuse values that are not finite."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import SimpleMultiObsEnv

from ardae_rl import DVBF, SACNF, SACGaussian
from ardae_rl.common.finite import check_all_finite
from ardae_rl.common.queries import query_actions
from tests.conftest import untrained
from tests.sac_ardae import small

ALGORITHMS = ("sac_ardae", "sac_nf", "sac_gaussian")


def policy_of(algo: str) -> Any:
    return (small.make() if algo == "sac_ardae" else untrained(algo, seed=0)).policy


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_forms_of_observations_and_actions(algo: str) -> None:
    """Arrays of any type of number, tensors, and single observations: the same densities."""
    policy = policy_of(algo)
    rng = np.random.default_rng(0)
    observations, actions = rng.normal(size=(4, 3)), rng.uniform(-1, 1, (4, 1))
    expected = policy.log_prob(th.as_tensor(observations).float(), th.as_tensor(actions).float())
    for dtype in (np.float64, np.float32):
        th.testing.assert_close(policy.log_prob(observations.astype(dtype), actions.astype(dtype)), expected)
    th.testing.assert_close(policy.log_prob(th.as_tensor(observations), th.as_tensor(actions)), expected)
    one = policy.log_prob(observations[1], actions[1])
    assert one.shape == ()
    th.testing.assert_close(one, expected[1], rtol=1e-4, atol=1e-4)
    assert policy.log_prob(th.as_tensor(observations[1]), actions[1]).shape == ()
    assert policy.log_prob(observations, np.zeros((4, 1), np.int64)).shape == (4,)
    assert policy.entropy(observations, 3).shape == (4,) and policy.entropy(observations[0], 3).shape == ()


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_observations_that_are_not_finite_are_refused(algo: str, value: float) -> None:
    policy = policy_of(algo)
    observation = np.array([0.0, value, 0.0], np.float32)
    with pytest.raises(ValueError, match="`observation` must be finite, got 1 of 3 values that are not"):
        policy.predict(observation)
    with pytest.raises(ValueError, match="must be finite"):
        policy.log_prob(th.as_tensor(observation)[None], np.zeros((1, 1)))
    with pytest.raises(ValueError, match="`actions` must be finite"):
        policy.log_prob(np.zeros(3), np.array([value]))


def test_a_planner_refuses_them_too() -> None:
    model = DVBF("MlpPolicy", "Pendulum-v1", device="cpu")
    with pytest.raises(ValueError, match="`observation` must be finite"):
        model.predict(np.full(3, np.nan, np.float32))


def test_wrong_shapes() -> None:
    policy = policy_of("sac_nf")
    with pytest.raises(ValueError, match=r"`obs` must have shape \(batch, 3\), got \(2, 4\)"):
        policy.log_prob(th.zeros(2, 4), th.zeros(2, 1))
    with pytest.raises(ValueError, match=r"`actions` must have shape \(2, 1\), got \(3, 1\)"):
        policy.log_prob(th.zeros(2, 3), th.zeros(3, 1))


class Sampled(gym.Env[Any, Any]):
    """Observations are samples of a space."""

    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space

    def reset(self, **kwargs: Any) -> Any:
        return self.observation_space.sample(), {}


@pytest.mark.parametrize(
    ("space", "good", "bad"),
    [
        (spaces.Discrete(3), [2, np.int64(0), np.array([0, 2])], [3, -1, np.array([0, 3]), 10**12]),
        (spaces.MultiDiscrete([2, 3]), [np.array([1, 2]), np.array([[0, 0], [1, 2]])], [np.array([2, 0])]),
        (spaces.Dict({"a": spaces.Discrete(3)}), [{"a": np.array(2)}], [{"a": np.array([1, 3])}]),
    ],
    ids=str,
)
def test_numbers_that_a_space_does_not_have(space: spaces.Space[Any], good: list[Any], bad: list[Any]) -> None:
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = SACNF(policy, Sampled(space), buffer_size=10, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)
    for observation in good:
        model.predict(observation)
    for observation in bad:
        with pytest.raises(ValueError, match=r"`observation(\['a'\])?` must be in (Multi)?Discrete\("):
            model.predict(observation)
    if isinstance(space, spaces.Discrete):
        with pytest.raises(ValueError, match=r"`obs` must be in Discrete\(3\)"):
            model.policy.log_prob(th.tensor([3]), np.zeros((1, 1)))


def test_images_of_another_form() -> None:
    image = spaces.Box(0, 255, (36, 36, 3), np.uint8)
    model = SACNF("CnnPolicy", Sampled(image), buffer_size=10, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)
    pixels = image.sample()
    assert model.predict(pixels)[0].shape == (1,) and model.predict(pixels[None])[0].shape == (1, 1)
    with pytest.raises(TypeError, match="`observation` must be a NumPy array, got a Tensor"):
        model.predict(th.as_tensor(pixels))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`observation` must have three axes, or four as a batch, got \(3888,\)"):
        model.predict(pixels.reshape(-1))


def test_dictionaries() -> None:
    env: Any = SimpleMultiObsEnv(discrete_actions=False)
    arguments: dict[str, Any] = {"buffer_size": 10, "device": "cpu", "seed": 0}
    model = SACGaussian("MultiInputPolicy", env, policy_kwargs={"net_arch": [8]}, **arguments)
    single = env.observation_space.sample()
    batch = {key: np.stack([value, value]) for key, value in single.items()}
    one = model.policy.log_prob(single, env.action_space.sample())
    assert one.shape == () and model.policy.log_prob(batch, [env.action_space.sample()] * 2).shape == (2,)
    form: Any
    for form, got in ((np.zeros(2), "ndarray"), ({"vec": single["vec"]}, "the keys 'vec'"), (None, "NoneType")):
        with pytest.raises(ValueError, match=f"must be a dictionary with the keys 'img', 'vec', got {got}"):
            model.policy.predict(form)
    with pytest.raises(ValueError, match=r"`observation` must be of the space Box\(.*, got a dictionary"):
        policy_of("sac_nf").predict({"a": np.zeros(3)})
    with pytest.raises(TypeError, match=r"`observation\['vec'\]` must be an array, got a list"):
        model.policy.predict({**single, "vec": list(single["vec"])})  # type: ignore[dict-item]


class Grid(gym.Env[Any, Any]):
    """Actions with two axes."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-2, 2, (2, 3))

    def reset(self, **kwargs: Any) -> Any:
        return self.observation_space.sample(), {}


def test_actions_with_several_axes() -> None:
    model = SACNF("MlpPolicy", Grid(), buffer_size=10, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)
    action = np.full((2, 3), 0.5)
    one = model.policy.log_prob(np.zeros(2), action)
    both = model.policy.log_prob(np.zeros((2, 2)), np.stack([action, action]))
    flat = model.policy.log_prob(np.zeros((2, 2)), np.full((2, 6), 0.5))
    th.testing.assert_close(both, flat)
    th.testing.assert_close(one, both[0], rtol=1e-4, atol=1e-4)


def test_query_actions() -> None:
    space = spaces.Box(-1, 1, (1,))
    assert query_actions([0.5], space, 1, th.device("cpu")).tolist() == [[0.5]]
    with pytest.raises(ValueError, match=r"`actions` must have shape \(2, 1\), got \(1,\)"):
        query_actions([0.5], space, 2, th.device("cpu"))
    for value, kind in (({"a": 0.5}, "dict"), (None, "NoneType"), (0.5, "float")):
        with pytest.raises(TypeError, match=rf"`actions` must be an array of shape \(1, 1\), got a {kind}"):
            query_actions(value, space, 1, th.device("cpu"))


def test_actions_without_a_choice_are_refused() -> None:
    class Fixed(gym.ActionWrapper[Any, Any, Any]):
        """Pendulum with a second action that can only be 1."""

        def __init__(self) -> None:
            super().__init__(gym.make("Pendulum-v1"))
            self.action_space = spaces.Box(np.array([-2.0, 1.0]), np.array([2.0, 1.0]), dtype=np.float64)

        def action(self, action: Any) -> Any:
            return action[:1]

    with pytest.raises(ValueError, match=r"`action_space` must have low < high in each dimension, got \[-2\.  1\.\]"):
        SACNF("MlpPolicy", Fixed())


def test_check_finite() -> None:
    check_all_finite("x", {"a": np.zeros(2), "b": np.array([1, 2]), "c": th.zeros(3)})
    with pytest.raises(ValueError, match=r"`x\['b'\]` must be finite, got 2 of 2"):
        check_all_finite("x", {"a": np.zeros(2), "b": np.array([np.nan, np.inf])})
