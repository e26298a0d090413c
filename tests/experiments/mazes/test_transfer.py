"""The transfer's table and its settings."""

import math

from experiments.mazes import transfer


def row(goal: int, step: int, success: float) -> dict[str, str]:
    key = dict.fromkeys(transfer.KEY, "0") | {"maze": "simple", "start": "sac", "goal": str(goal), "steps": "9000"}
    return key | {"step": str(step), "success": str(success)}


def test_steps_until_90_percent() -> None:
    reached = [row(0, 0, 0.25), row(0, 3000, 0.5), row(0, 6000, 0.91)]
    missed = [row(1, 0, 0.0), row(1, 9000, 0.89)]
    assert transfer.steps_needed(reached) == 6000 and math.isinf(transfer.steps_needed(missed))
    (line,) = transfer.summary([*reached, *missed])
    assert line == {
        "maze": "simple",
        "start": "sac",
        "trainings": 2,
        "success_at_the_start": 0.125,
        "steps_to_90_percent": 7500.0,  # a training that did not get there counts with all its steps
        "not_reached": 1,
    }


def test_pretraining_is_shared_by_the_goals() -> None:
    runs = transfer.runs("quick", 1, mazes=("simple",))
    assert len(runs) == 4 * 4 and len({settings["name"] for settings in runs}) == 16
    before = {settings["needs"]["name"] for settings in runs if "needs" in settings}
    assert len(before) == 2, "one for each method"
    assert {settings["start"] for settings in runs if "needs" not in settings} == {"sac", "sac_ardae"}


def test_rows_of_other_options_are_others() -> None:
    """The key of the table has every option that the runs have."""
    (first, *_), (second, *_) = (
        transfer.runs("quick", 1, mazes=("simple",), explore=explore, updates=updates)
        for explore, updates in ((0.3, 4), (0.1, 2))
    )
    assert {name for name in transfer.KEY[:-1] if first[name] != second[name]} == {"explore", "updates"}
    assert "temperature" in transfer.KEY
