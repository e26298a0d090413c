"""Episodes as a batch have the same results as each of them alone."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from ardae_rl.world_models.evolution import RolloutEvaluator
from tests.world_models.evolution_toys import NOT_FINITE, Drift, LinearPolicy, RecurrentPolicy, drifting, parameters

SEEDS = [3, 1, 4, 15]


def alone(policy: LinearPolicy, candidate: np.ndarray, seed: int) -> tuple[float, int]:
    """Return the return and length of an episode, by the simplest loop."""
    env, state, ended, total, length = Drift(), None, False, 0.0, 0
    observation, _ = env.reset(seed=seed)
    while not ended:
        actions, state = policy.act(candidate[None], observation[None], state, np.array([length == 0]))
        observation, reward, ended, _, _ = env.step(np.asarray(actions)[0])
        total, length = total + reward, length + 1
    return total, length


@pytest.mark.parametrize("policy", [LinearPolicy, RecurrentPolicy])
@pytest.mark.parametrize("n_envs", [1, 2, 7, 50])
def test_as_if_played_alone(policy: type[LinearPolicy], n_envs: int) -> None:
    """This holds for any number of environments, also with a state, which is reset with each episode."""
    evaluator = drifting(n_envs, policy)
    expected = [[alone(policy(), candidate, seed) for seed in SEEDS] for candidate in parameters()]
    for _ in range(2):  # the second time, environments are at other places
        result = evaluator.evaluate(parameters(), SEEDS)
        np.testing.assert_array_equal(np.stack([result.returns, result.lengths], -1), expected)
    assert not result.given_up.any()
    assert result.n_steps == result.lengths.sum()
    assert result.fitness == pytest.approx(result.returns.mean(1))


def test_nothing_is_stepped_or_reset_in_vain() -> None:
    """The batch is full while there are episodes left."""
    evaluator = drifting(4)
    result = evaluator.evaluate(parameters(), SEEDS)
    envs: Any = [slot.env for slot in evaluator._slots]
    assert sum(env.steps for env in envs) == result.n_steps
    assert sum(env.resets for env in envs) == 5 * len(SEEDS)
    assert evaluator.policy.calls <= result.n_steps / 4 + result.lengths.max()  # type: ignore[attr-defined]


def test_order_does_not_matter() -> None:
    """Permuted candidates and seeds give permuted results."""
    rows, columns = [4, 0, 3, 1, 2], [2, 0, 3, 1]
    straight = drifting().evaluate(parameters(), SEEDS)
    permuted = drifting().evaluate(parameters()[rows], [SEEDS[i] for i in columns])
    np.testing.assert_array_equal(permuted.returns, straight.returns[rows][:, columns])


def test_all_candidates_play_the_same_episodes() -> None:
    result = drifting().evaluate(np.repeat(parameters(1), 5, 0), SEEDS)
    assert (result.returns == result.returns[:1]).all() and (result.lengths == result.lengths[:1]).all()
    assert len(set(result.returns[0])) == len(SEEDS)


class Rewards(gym.Env[np.ndarray, Any]):
    """The reward is 1 in steps 1, 2, 3 and 7, else -1; episodes have 20 steps."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.t = -1
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.zeros(1), 1.0 if self.t in (1, 2, 3, 7) else -1.0, False, self.t == 19, {}


@pytest.mark.parametrize(
    ("limits", "length", "given_up"),
    [
        ({}, 20, False),
        ({"patience": 3}, 7, True),
        ({"patience": 4}, 12, True),
        ({"patience": 13}, 20, False),
    ],
)
def test_patience(limits: dict[str, int], length: int, given_up: bool) -> None:
    """An episode that terminates is not reported as given up; held-out episodes need not be given up."""
    evaluator = RolloutEvaluator(Rewards, LinearPolicy(1, 1), 2, **limits)
    result = evaluator.evaluate(np.zeros((3, 2)), [0, 1])
    assert (result.lengths == length).all() and (result.given_up == given_up).all()
    rewarded = np.isin(np.arange(length), [1, 2, 3, 7]).sum()
    assert (result.returns == 2 * rewarded - length).all()
    patient = evaluator.evaluate(np.zeros((3, 2)), [0, 1], give_up=False)
    assert (patient.lengths == 20).all() and not patient.given_up.any()


def test_update() -> None:
    evaluator = drifting()
    before = evaluator.evaluate(parameters(), SEEDS)
    evaluator.update({"gain": 0.5})
    assert (evaluator.evaluate(parameters(), SEEDS).returns != before.returns).all()

    class Fixed:
        n_parameters = 1

        def act(self, parameters: Any, observations: Any, state: Any, episode_start: Any) -> Any:
            return np.zeros(len(observations), int), None

    with pytest.raises(ValueError, match=r"`policy` must have a method load_state_dict, got .*Fixed"):
        RolloutEvaluator(Rewards, Fixed(), 1).update({})


def test_actions_that_are_not_finite() -> None:
    candidates = parameters()
    candidates[3, 0] = NOT_FINITE
    with pytest.raises(ValueError, match=r"finite actions, got \[nan nan\] in step 0 of the episode with seed 3"):
        drifting().evaluate(candidates, SEEDS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drifting(0), "`n_envs` must be >= 1, got 0"),
        (lambda: drifting(patience=0), "`patience` must be >= 1, got 0"),
        (
            lambda: drifting().evaluate(np.zeros(8), SEEDS),
            r"must have shape \(population, .*\), got \(8,\)",
        ),
        (lambda: drifting().evaluate(np.zeros((2, 7)), SEEDS), r"`parameters` must have shape \(8, 8\), got \(8, 7\)"),
        (
            lambda: drifting().evaluate(np.full((2, 8), np.inf), SEEDS),
            "`parameters` must be finite, got 16 of 16",
        ),
        (lambda: drifting().evaluate(parameters(), []), r"`seeds` must be one or more integers >= 0, got \[\]"),
        (lambda: drifting().evaluate(parameters(), [-1]), r"`seeds` must be one or more integers >= 0, got \[-1\]"),
        (
            lambda: drifting().evaluate(parameters(), [0.5]),  # type: ignore[list-item]
            r"`seeds` must be one or more integers >= 0, got \[0.5\]",
        ),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
