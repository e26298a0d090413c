"""The sweep of temperatures is fair, and apart from the comparison."""

from collections import Counter

from experiments.mazes import compare, front


def test_each_method_has_five_values_on_seeds_of_the_sweeps_own() -> None:
    sweep = front.runs("quick", 2, mazes=("simple",))
    values = Counter(settings["method"] for settings in sweep)
    assert set(values.values()) == {2 * 5} and set(values) == set(compare.METHODS)
    compared = {settings["seed"] for settings in compare.runs("paper", 10, mazes=("simple",))}
    assert {settings["seed"] for settings in sweep} == {100, 101} and not compared & {100, 101}
