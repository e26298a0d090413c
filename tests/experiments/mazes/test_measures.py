"""The measures of episodes in mazes, by hand and by brute force."""

from itertools import combinations

import numpy as np
import pytest

from experiments.mazes import measures


def test_by_hand() -> None:
    goals = [0, 0, -1, 2]
    assert measures.success_rate(goals) == 0.75
    assert measures.reachable_goals(goals) == 2
    assert measures.steps_to_goal(goals, [10, 20, 99, 60]) == 30
    assert measures.reachable_goals([-1, -1]) == 0 and np.isnan(measures.steps_to_goal([-1], [5]))
    # Of the 6 pairs of episodes, all but those without any success; here there is one failure
    assert measures.group_success(goals, 2) == 1
    assert measures.group_success([0, -1, -1, -1], 2) == pytest.approx(3 / 6)


def test_a_policy_with_one_goal_survives_half_of_the_removals() -> None:
    one, all_four = [3] * 500, [0, 1, 2, 3] * 125
    assert measures.removal_success(one, 4) == pytest.approx(0.5)
    # Two of four goals are left, in 250 of 500 episodes
    failures = np.prod([(250 - i) / (500 - i) for i in range(5)])
    assert measures.removal_success(all_four, 4) == pytest.approx(1 - failures)
    assert measures.removal_success([-1] * 500, 4) == 0


@pytest.mark.parametrize(("n_goals", "group"), [(2, 2), (3, 2), (4, 3)])
def test_group_measures_by_brute_force(n_goals: int, group: int) -> None:
    goals = np.random.default_rng(n_goals).integers(-1, n_goals, 7)
    groups = [goals[list(members)] for members in combinations(range(7), group)]
    assert measures.group_success(goals, group) == pytest.approx(np.mean([(g >= 0).any() for g in groups]))
    left = [set(choice) for choice in combinations(range(n_goals), n_goals - n_goals // 2)]
    expected = np.mean([bool(kept & set(g.tolist())) for kept in left for g in groups])
    assert measures.removal_success(goals, n_goals, group) == pytest.approx(expected)


def test_interval() -> None:
    """Without differences between runs it is that of a mean over their episodes; with them it is wider."""
    same = [[0, -1] * 200] * 3
    low, high = measures.interval(same, measures.success_rate)
    error = 1.96 * np.sqrt(0.25 / 1200)
    assert (low, high) == (pytest.approx(0.5 - error, abs=0.01), pytest.approx(0.5 + error, abs=0.01))
    low, high = measures.interval([[0] * 100, [-1] * 100], measures.success_rate)
    assert (low, high) == (0, 1)


def test_text() -> None:
    goals = [0, -1, 7, 3]
    assert measures.to_text(goals) == "0-73"
    np.testing.assert_array_equal(measures.from_text("0-73"), goals)
