"""The sweep of temperatures is fair, and apart from the comparison."""

import math
from collections import Counter

from experiments.mazes import compare, front

_OTHER_COLUMNS = dict.fromkeys((*compare.PROTOCOL, *compare.MEASURES, "seed"), "1")


def test_each_method_has_four_values_on_seeds_of_the_sweeps_own() -> None:
    sweep = front.runs("quick", 2, mazes=("simple",))
    values = Counter(settings["method"] for settings in sweep)
    assert set(values.values()) == {2 * 4} and set(values) == set(compare.METHODS)
    compared = {settings["seed"] for settings in compare.runs("paper", 10, mazes=("simple",))}
    assert {settings["seed"] for settings in sweep} == {100, 101} and not compared & {100, 101}


def test_the_chosen_temperature_succeeds_and_survives_removal() -> None:
    """Above 95 %, the success rate does not count; a policy that fails more often is not chosen for its diversity."""
    row = {"maze": "simple", "method": "sac", "obstacle_sr5": "0.9", "steps_to_goal": "100"}
    figures = [("0", "1.0", "0.5"), ("0.5", "0.96", "0.8"), ("1", "0.9", "0.97")]
    rows = [row | {"temperature": t, "success": s, "removal_sr5": r} for t, s, r in figures]
    assert front.chosen(rows) == {("simple", "sac"): "0.5"}
    assert front.chosen(rows[2:]) == {("simple", "sac"): "1"}
    longer = row | {"temperature": "0.6", "success": "1.0", "removal_sr5": "0.8", "steps_to_goal": "101"}
    assert front.chosen([*rows, longer]) == {("simple", "sac"): "0.5"}
    other_seed = row | {"temperature": "0.5", "success": "0.8", "removal_sr5": "0.8"}
    assert front.chosen([*rows, other_seed]) == {("simple", "sac"): "0"}
    assert [line["chosen"] for line in front.summary([_OTHER_COLUMNS | line for line in rows])] == ["", "yes", ""]


def test_intervals_need_five_seeds() -> None:
    """In every run, with open and with closed obstacles, a quarter of the episodes reach each of two goals."""
    measured = dict.fromkeys((*compare.MEASURES, *compare.PROTOCOL), "0.5")
    text = "01--" * 100
    row = measured | {"maze": "simple", "method": "sac", "temperature": "0", "goals": text, "obstacle_goals": text}
    (line,) = compare.summary([row] * 5)
    assert line["n_seeds"] == 5 and line["success"] == 0.5
    # One of the two goals is left in 4 of 6 choices, both in 1
    expected = (4 * (1 - 0.75**5) + (1 - 0.5**5)) / 6
    assert line["removal_low"] < expected < line["removal_high"] < line["removal_low"] + 0.1
    assert line["obstacle_low"] < 1 - 0.5**5 < line["obstacle_high"] < line["obstacle_low"] + 0.05
    (line,) = compare.summary([row] * 4)
    assert math.isnan(line["removal_low"]) and math.isnan(line["obstacle_high"])
