"""The long checks are made of what is there: faults can be put in, and calls are judged as they should be."""

import pytest

from stress.fuzz import ENTRANCES, _is_documented, _is_finite, run
from stress.kills import COMMANDS
from stress.mutants import MUTANTS, ROOT, Mutant, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_faults_are_in_the_code_as_it_is(mutant: Mutant) -> None:
    assert mutated((ROOT / mutant.file).read_text(), mutant).count(mutant.replacement) >= 1
    assert (ROOT / mutant.tests).exists()


def test_judgement_of_errors() -> None:
    assert _is_documented(ValueError("`n` must be >= 1, got 0"))
    assert not _is_documented(ValueError("could not broadcast")) and not _is_documented(IndexError("`n` must be"))
    assert _is_finite({"a": (1.0, [2.0])}) and not _is_finite([1.0, float("nan")])


def test_a_few_random_calls() -> None:
    rows = run(len(ENTRANCES), seed=1)
    assert [row["calls"] for row in rows] == [1] * len(ENTRANCES) and sum(row["wrong"] for row in rows) == 0
    assert COMMANDS
