"""The long checks are made of what is there: faults can be put in, and calls are judged as they should be."""

from pathlib import Path

import pytest

from ardae_rl.runs.tables import read_csv
from stress.fuzz import ENTRANCES, _is_documented, _is_finite, run
from stress.kills import COMMANDS
from stress.mutants import MUTANTS, ROOT, Mutant, mutated
from stress.mutation import EQUIVALENT, TESTS, Fault, rows_by_folder, sample
from stress.sb3_suites import SUITES, compared, refusal

_THEIR_TESTS = """
import pytest
from stable_baselines3 import SAC, TD3

@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_of_several_algorithms(algorithm):
    assert algorithm.__name__ != "SACNF", "ours alone"

@pytest.mark.parametrize("use_sde", [False, True])
def test_of_one(use_sde):
    SAC("MlpPolicy", "Pendulum-v1", use_sde=use_sde, buffer_size=1)

def test_that_fails_with_theirs():
    assert SAC is None

def test_of_something_else():
    assert False
"""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_faults_are_in_the_code_as_it_is(mutant: Mutant) -> None:
    assert mutated((ROOT / mutant.file).read_text(), mutant).count(mutant.replacement) >= 1
    assert (ROOT / mutant.tests).exists()


def test_random_faults_change_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is in one line, and its tests are there. The same seed draws the same ones."""
    pytest.importorskip("cosmic_ray")
    monkeypatch.setattr("stress.mutation.TESTS", {"ardae_rl/latent": "tests/latent"})
    faults = sample(8, seed=0)
    assert len(set(faults)) == 8 and faults == sample(8, seed=0)
    for fault in faults:
        assert fault.before in (ROOT / fault.file).read_text() and fault.before != fault.after
        assert fault.file.startswith("ardae_rl/latent") and (ROOT / fault.tests).is_dir()


def test_mutation_score() -> None:
    """Three faults, of which one is equivalent and one survives: half of two."""
    assert all((ROOT / name).exists() and (ROOT / tests).exists() for name, tests in TESTS.items())
    faults = [Fault("ardae_rl/irl/airl.py", 1, f"a{k}", f"b{k}", "", "tests/irl") for k in range(3)]
    outcomes = dict(zip(faults, ("found", "survived", "survived"), strict=True))
    rows = {row.pop("code"): row for row in rows_by_folder(outcomes, {faults[1].key})}
    assert rows["all"] == rows["ardae_rl/irl"] == {"faults": 3, "equivalent": 1, "survived": 1, "score": 50.0}
    assert rows["ardae_rl/ebm"]["score"] == ""


def test_equivalent_faults_are_in_the_code_as_it_is() -> None:
    for row in read_csv(EQUIVALENT):
        assert row["before"] in (ROOT / row["file"]).read_text() and row["reason"]


def test_judgement_of_errors() -> None:
    assert _is_documented(ValueError("`n` must be >= 1, got 0"))
    assert not _is_documented(ValueError("could not broadcast")) and not _is_documented(IndexError("`n` must be"))
    assert _is_finite({"a": (1.0, [2.0])}) and not _is_finite([1.0, float("nan")])


def test_a_few_random_calls() -> None:
    rows = run(len(ENTRANCES), seed=1)
    assert [row["calls"] for row in rows] == [1] * len(ENTRANCES) and sum(row["wrong"] for row in rows) == 0
    assert COMMANDS


def test_their_tests_with_our_class(tmp_path: Path) -> None:
    """Only tests of the replaced class count, and of these only failures that are ours alone and not refusals."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_of_sb3.py").write_text(_THEIR_TESTS)
    row = compared(tmp_path, "stable-baselines3", "stable_baselines3:SAC", "ardae_rl:SACNF")
    assert {name: row[name] for name in ("class", "passed", "failed_with_theirs", "refused", "wrong")} == {
        "class": "SACNF for SAC",
        "passed": 1,
        "failed_with_theirs": 1,
        "refused": 1,
        "wrong": 1,
    }
    assert row["reasons"].startswith("no generalized state-dependent exploration")
    assert row["note"].startswith("tests/test_of_sb3.py::test_of_several_algorithms[SACNF]: failed: AssertionError")


def test_only_refusals_on_purpose_are_excused() -> None:
    box = "ValueError: `action_space` must be a Box (continuous actions), got Discrete(2)"
    assert refusal(f"test_spaces[CartPole-v1-SACARDAE]: failed: {box}") == "a ValueError where SB3 asserts"
    assert refusal("test_predict[CartPole-v1-SACARDAE]: failed: ValueError: shapes") == ""
    assert {suite[0] for suite in SUITES} == {"stable-baselines3", "sb3-contrib"}
