"""Properties of the input checks, over random spaces, forms and types of numbers."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ardae_rl import SACNF
from ardae_rl.common.finite import check_all_finite
from ardae_rl.common.queries import query_actions
from ardae_rl.irl import Trajectory, load_trajectories, save_trajectories
from ardae_rl.irl.demonstrations import check_demonstrations_fit
from ardae_rl.irl.trajectories import stack_observations
from ardae_rl.score import ARDAE
from tests.irl.test_action_spaces import AnyActions

# The same examples in each run, and no limit of time, which a busy machine would exceed
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)

SHAPES = st.lists(st.integers(1, 3), max_size=2).map(tuple)
VECTORS = st.integers(1, 3).map(lambda size: (size,))  # SB3 has no extractor for observations without an axis
FLOATS: Any = st.sampled_from([np.float32, np.float64])


@st.composite
def boxes(draw: st.DrawFn, shapes: Any = SHAPES) -> spaces.Box:
    """Return bounded boxes of any position, size, shape and type of number."""
    low = draw(st.floats(-100, 100, width=32))
    width = draw(st.floats(0.125, 100, width=32))
    return spaces.Box(low, low + width, draw(shapes), draw(FLOATS))


DISCRETE = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-2, 2))
OTHERS = st.sampled_from(
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(0, 255, (8, 8, 3), np.uint8),
        spaces.Box(-np.inf, np.inf, (2,)),
    ]
)
PLAIN = st.one_of(boxes(), DISCRETE, OTHERS)
DICTIONARIES = st.dictionaries(st.sampled_from(["a", "b", "c"]), PLAIN, min_size=1).map(spaces.Dict)


def episode(observation_space: spaces.Space[Any], action_space: spaces.Space[Any], length: int) -> Trajectory:
    for space in (observation_space, action_space):
        space.seed(0)
    observations = [observation_space.sample() for _ in range(length + 1)]
    return Trajectory(stack_observations(observations), np.stack([action_space.sample() for _ in range(length)]))


@few
@given(st.one_of(PLAIN, DICTIONARIES), PLAIN, st.integers(1, 4))
def test_samples_of_the_spaces_fit(observations: spaces.Space[Any], actions: spaces.Space[Any], length: int) -> None:
    check_demonstrations_fit([episode(observations, actions, length)], observations, actions)


@few
@given(PLAIN, boxes(), st.sampled_from([np.nan, np.inf, -np.inf, 1e9]), st.data())
def test_one_bad_action_is_found(observations: spaces.Space[Any], actions: spaces.Box, bad: float, data: Any) -> None:
    trajectory = episode(observations, actions, 3)
    changed = trajectory.actions.copy()
    changed.reshape(-1)[data.draw(st.integers(0, changed.size - 1))] = bad
    broken = Trajectory(trajectory.observations, changed)
    with pytest.raises(ValueError, match=r"`demonstrations\[1\]\.actions` must be"):
        check_demonstrations_fit([trajectory, broken], observations, actions)


@few
@given(PLAIN, PLAIN)
def test_demonstrations_of_other_spaces_are_told_apart(one: spaces.Space[Any], other: spaces.Space[Any]) -> None:
    assume(one.shape != other.shape and not (one.shape == (8, 8, 3) or other.shape == (8, 8, 3)))
    actions = spaces.Box(-1, 1, (1,))
    with pytest.raises(ValueError, match=r"`demonstrations\[0\]\.observations` must have rows of shape"):
        check_demonstrations_fit([episode(one, actions, 2)], other, actions)


@few
@given(st.one_of(PLAIN, DICTIONARIES), PLAIN, st.integers(1, 3))
def test_files_give_trajectories_back(
    tmp_path_factory: pytest.TempPathFactory, observations: spaces.Space[Any], actions: spaces.Space[Any], n: int
) -> None:
    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    saved = [episode(observations, actions, length) for length in range(1, n + 1)]
    save_trajectories(path, saved)
    for one, other in zip(saved, load_trajectories(path), strict=True):
        np.testing.assert_equal(other.observations, one.observations)
        np.testing.assert_equal(other.actions, one.actions)


@few
@given(boxes(), st.integers(1, 3), st.booleans(), st.sampled_from([np.float16, np.float32, np.float64, np.int64]))
def test_actions_in_any_form(space: spaces.Box, n: int, as_tensor: bool, dtype: Any) -> None:
    """Flat or not, arrays or tensors, of any type of number: a tensor of floats, (n, dim)."""
    values = np.stack([space.sample() for _ in range(n)]).astype(dtype)
    forms = [values, values.reshape(n, -1), *([values[0], values[0].reshape(-1)] if n == 1 else [])]
    for form in forms:
        actions = query_actions(th.as_tensor(form) if as_tensor else form, space, n, th.device("cpu"))
        assert actions.dtype == th.float32
        np.testing.assert_array_equal(actions.numpy(), values.reshape(n, -1).astype(np.float32))
    with pytest.raises(ValueError, match="`actions` must have shape"):
        query_actions(np.zeros((n + 1, 7)), space, n, th.device("cpu"))


@settings(few, max_examples=10)
@given(boxes(VECTORS), boxes(), st.integers(1, 3), FLOATS)
def test_densities_in_any_space(observations: spaces.Box, actions: spaces.Box, n: int, dtype: Any) -> None:
    """Densities do not depend on the form, and are finite for actions of the space, also at its bounds."""
    env: Any = AnyActions(actions)
    env.observation_space = observations
    model = SACNF("MlpPolicy", env, policy_kwargs={"net_arch": [4]}, buffer_size=1, device="cpu", seed=0)
    obs = np.stack([observations.sample() for _ in range(n)])
    at_bounds = np.stack([actions.low] * n)
    for given_actions in (np.stack([actions.sample() for _ in range(n)]), at_bounds):
        expected = model.policy.log_prob(obs, given_actions)
        assert expected.shape == (n,) and bool(expected.isfinite().all())
        as_tensors = model.policy.log_prob(th.as_tensor(obs), th.as_tensor(given_actions))
        th.testing.assert_close(as_tensors, expected, rtol=1e-3, atol=1e-3)
        single = model.policy.log_prob(obs[0].astype(dtype), given_actions[0])
        th.testing.assert_close(single, expected[0], rtol=1e-3, atol=1e-3)
    broken = obs.astype(np.float64)
    broken.reshape(-1)[-1] = np.nan
    for query in (model.predict, lambda values: model.policy.log_prob(values, at_bounds), model.policy.entropy):
        with pytest.raises(ValueError, match=rf"must be finite, got 1 of {obs.size} values"):
            query(broken)


@few
@given(st.integers(1, 3), st.integers(2, 5), st.sampled_from([np.float16, np.float64, np.int32, np.uint8]))
def test_estimators_take_all_numbers(dim: int, n: int, dtype: Any) -> None:
    values = np.random.default_rng(0).integers(0, 5, (n, dim))
    results = []
    for form in (th.as_tensor(values).float(), values.astype(dtype), th.as_tensor(values.astype(dtype))):
        th.manual_seed(0)
        estimator = ARDAE(dim, network_kwargs={"hidden": [4]})
        estimator.update(form)
        results.append(th.cat([estimator.score(form).flatten(), estimator.log_prob(form)]))
    for result in results[1:]:
        assert th.equal(result, results[0])


@few
@given(st.recursive(st.floats(), lambda parts: st.lists(parts, min_size=1, max_size=3), max_leaves=5))
def test_what_is_finite(values: Any) -> None:
    try:
        array = np.asarray(values, float)
    except ValueError:  # rows of unequal lengths
        assume(False)
    for form in (array, th.as_tensor(array), {"part": array}):
        if np.isfinite(array).all():
            check_all_finite("x", form)
        else:
            with pytest.raises(ValueError, match="must be finite"):
                check_all_finite("x", form)
