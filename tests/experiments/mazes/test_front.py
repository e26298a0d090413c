"""The sweep of temperatures is fair, and apart from the comparison."""

from collections import Counter

from experiments.mazes import compare, front

_OTHER_COLUMNS = dict.fromkeys(("reachable_goals", "steps_to_goal", "first_action_entropy"), "1")


def test_each_method_has_four_values_on_seeds_of_the_sweeps_own() -> None:
    sweep = front.runs("quick", 2, mazes=("simple",))
    values = Counter(settings["method"] for settings in sweep)
    assert set(values.values()) == {2 * 4} and set(values) == set(compare.METHODS)
    compared = {settings["seed"] for settings in compare.runs("paper", 10, mazes=("simple",))}
    assert {settings["seed"] for settings in sweep} == {100, 101} and not compared & {100, 101}


def test_the_chosen_temperature_succeeds_and_survives_removal() -> None:
    """Above 95 %, the success rate does not count; a policy that fails more often is not chosen for its diversity."""
    row = {"maze": "simple", "method": "sac", "obstacle_sr5": "0.9"}
    figures = [("0", "1.0", "0.5"), ("0.5", "0.96", "0.8"), ("1", "0.9", "0.97")]
    rows = [row | {"temperature": t, "success": s, "removal_sr5": r} for t, s, r in figures]
    assert front.chosen(rows) == {("simple", "sac"): "0.5"}
    assert front.chosen(rows[2:]) == {("simple", "sac"): "1"}
    other_seed = row | {"temperature": "0.5", "success": "0.8", "removal_sr5": "0.8"}
    assert front.chosen([*rows, other_seed]) == {("simple", "sac"): "0"}
    assert [line["chosen"] for line in front.summary([line | _OTHER_COLUMNS for line in rows])] == ["", "yes", ""]
