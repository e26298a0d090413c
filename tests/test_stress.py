"""The tools of the long checks: injected faults, soak tests, kills, full disks, and their verdicts."""

import subprocess
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
from stable_baselines3.common.utils import FloatSchedule, polyak_update

from ardae_rl import SACNF
from ardae_rl.runs.tables import read_csv
from stress.commands import COMMANDS
from stress.covering import split
from stress.full_disk import faults
from stress.fuzz import ENTRANCES, _is_documented, _is_finite, run
from stress.kills import _kill, _resumed, whole_checkpoints
from stress.mutants import MUTANTS, ROOT, Mutant, mutated
from stress.mutants import run as run_mutants
from stress.mutation import (
    _CHANGED,
    EQUIVALENT,
    TESTS,
    Fault,
    _commit,
    _Copies,
    _places,
    _tried,
    rows_by_folder,
    sample,
)
from stress.mutation import main as mutation_main
from stress.sb3_suites import SUITES, compared, refusal
from stress.soak import ALGORITHMS, _soak, judged

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

_TESTS_OF_A_VALUE = """
import time

import pytest
from ardae_rl import module

@pytest.fixture
def fixture():
    return module.value()

@pytest.mark.parametrize("name", ["a"])
def test_slow(name):
    time.sleep(0.1)
    assert module.value() == 1

def test_fast():
    assert module.value() == 1

def test_fixture(fixture):
    assert fixture == 1

def test_other():
    assert not hasattr(module, "OTHER")
"""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_faults_are_in_the_code_as_it_is(mutant: Mutant) -> None:
    assert mutated((ROOT / mutant.file).read_text(), mutant).count(mutant.replacement) >= 1
    assert (ROOT / mutant.tests).exists()


def test_random_faults_change_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is in one line, and its tests are there. The same seed draws the same ones."""
    pytest.importorskip("cosmic_ray")
    monkeypatch.setattr("stress.mutation.TESTS", {"ardae_rl/latent": ("tests/latent",)})
    faults = sample(8, seed=0)
    assert len(set(faults)) == 8 and faults == sample(8, seed=0)
    assert {fault.file for fault in sample(8, 0, "ardae_rl/latent/networks")} == {"ardae_rl/latent/networks.py"}
    with pytest.raises(ValueError, match=r"`code` must be the beginning of a path .*, got 'latent'"):
        sample(8, 0, "latent")
    for fault in faults:
        assert fault.before in (ROOT / fault.file).read_text() and fault.before != fault.after
        assert fault.file.startswith("ardae_rl/latent") and fault.tests == ("tests/latent",)


def test_settings_are_no_places_of_faults(tmp_path: Path) -> None:
    pytest.importorskip("cosmic_ray")
    lines = [
        "SIZE: int = 3 * 4",
        "class A:",
        "    width = (",
        "        256,",
        "    )",
        "    def method(self, n=1, *, k=2 + 2):",
        "        m = 5",
        "        return lambda x=6: m - x",
        "A.other = 7",
    ]
    (tmp_path / "module.py").write_text("\n".join(lines))
    places = [(6, lines[5].index("*,")), (7, lines[6].index("5")), (8, lines[7].index("-"))]
    assert sorted(_places(tmp_path / "module.py")) == places  # cosmic-ray takes the separator for an operator


def test_mutation_score() -> None:
    """Three faults, of which one is equivalent and one survives: half of two."""
    assert all((ROOT / name).exists() for name in (*TESTS, *chain.from_iterable(TESTS.values())))
    faults = [Fault("ardae_rl/irl/airl.py", 1, f"a{k}", f"b{k}", "", ("tests/irl",)) for k in range(3)]
    outcomes = dict(zip(faults, ("found", "survived", "survived"), strict=True))
    rows = {row.pop("code"): row for row in rows_by_folder(outcomes, {faults[1].key})}
    assert rows["all"] == rows["ardae_rl/irl"] == {"faults": 3, "equivalent": 1, "survived": 1, "score": 50.0}
    assert rows["ardae_rl/ebm"]["score"] == ""


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Copies:
    def copy(folder: Path) -> Path:
        (folder / "ardae_rl").mkdir(parents=True)
        (folder / "ardae_rl" / "__init__.py").write_text("")
        (folder / "stress").symlink_to(ROOT / "stress")
        (folder / "ardae_rl" / "module.py").write_text("def value():\n    return 1\n")
        (folder / "ardae_rl" / "shared.py").write_text("")
        (folder / "tests" / "empty").mkdir(parents=True)
        (folder / "tests" / "conftest.py").write_text("import ardae_rl.shared\n")
        (folder / "tests" / "test_value.py").write_text(_TESTS_OF_A_VALUE)
        return folder

    monkeypatch.setattr("stress.mutation.copy_project", copy)
    return _Copies(tmp_path, 1)


@pytest.mark.parametrize(
    ("file", "code", "outcome"),
    [
        ("module.py", "def value():\n    return 1 + 0", "survived"),
        ("module.py", "def value():\n    return 2", "found"),
        ("module.py", "1 / 0", "found"),
        ("shared.py", "1 / 0", "found"),
    ],
)
def test_outcome_of_a_fault(copies: _Copies, file: str, code: str, outcome: str) -> None:
    copies.check("tests/test_value.py")
    assert copies.outcome(Fault(f"ardae_rl/{file}", 2, "", "", code, ("tests/test_value.py",))) == outcome


def test_tests_that_execute_a_line(copies: _Copies, tmp_path: Path) -> None:
    """The fastest is the first, and fixtures count. A fault that only another test finds is found as well."""
    copies.check("tests/test_value.py")
    records = list(copies._covering.values())
    fast, fixture, slow, other = (
        f"tests/test_value.py::{name}" for name in ("test_fast", "test_fixture", "test_slow[a]", "test_other")
    )
    first, others = split(records, "ardae_rl/module.py", 2)
    assert sorted(first) == [fast, fixture, slow] and first.index(fast) < first.index(slow) and others == [other]
    for file, line in (("ardae_rl/module.py", 1), ("ardae_rl/missing.py", 1)):
        first, others = split(records, file, line)
        assert not first and sorted(others) == [fast, fixture, other, slow]
    text = "def value():\n    return 1\n\nOTHER = 1"
    assert copies.outcome(Fault("ardae_rl/module.py", 2, "", "", text, ("tests/test_value.py",))) == "found"


def test_tests_of_several_folders(copies: _Copies, tmp_path: Path) -> None:
    """Those of the second one find a fault that the first one's execute, but do not find."""
    text = "from ardae_rl.module import value\ndef test_value():\n    assert value() > 0\n"
    (tmp_path / "0" / "tests" / "test_again.py").write_text(text)
    names = ("tests/test_again.py", "tests/test_value.py")
    for name in names:
        copies.check(name)
    first, others = split(list(copies._covering.values()), "ardae_rl/module.py", 2)
    assert "tests/test_again.py::test_value" in first and len(first) == 4 and len(others) == 1
    for tests, outcome in ((names[:1], "survived"), (names, "found")):
        assert copies.outcome(Fault("ardae_rl/module.py", 2, "", "", "def value():\n    return 2", tests)) == outcome


@pytest.mark.parametrize("tests", ["tests/empty", "tests/missing.py"])
def test_tests_that_cannot_tell_a_fault_are_an_error(copies: _Copies, tests: str) -> None:
    """Tests that fail or are missing without a fault would "find" each one."""
    with pytest.raises(RuntimeError, match=f"pytest {tests} ended with status [45]"):
        copies.check(tests)
    copies.check("tests/test_value.py")


def test_tests_that_need_an_order_are_an_error(copies: _Copies, tmp_path: Path) -> None:
    """The slow one leaves what the fast one needs, so that each fault would count as found."""
    slow = "def test_slow():\n    time.sleep(0.1)\n    left.append(1)\n"
    text = f"import time\nleft = []\n{slow}def test_fast():\n    assert left\n"
    (tmp_path / "0" / "tests" / "test_order.py").write_text(text)
    with pytest.raises(RuntimeError, match=r"test_fast.* ended with status 1"):
        copies.check("tests/test_order.py")


def test_a_status_that_tells_nothing_is_an_error(copies: _Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.check("tests/test_value.py")
    failed = subprocess.CompletedProcess([], 3, "internal error", "")
    monkeypatch.setattr("stress.mutation.run_tests", lambda *_: failed)
    with pytest.raises(RuntimeError, match="ended with status 3"):
        copies.outcome(Fault("ardae_rl/module.py", 1, "", "", "1 / 0", ("tests/test_value.py",)))


def test_mutants_need_tests_that_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "1 failed", "")
    monkeypatch.setattr("stress.mutants.run_tests", lambda tests, copy, record: failed)
    monkeypatch.setattr("stress.mutants.copy_project", lambda folder: folder)
    with pytest.raises(RuntimeError, match="ended with status 1:\n1 failed"):
        run_mutants(1, 0)


def test_outcomes_are_those_of_one_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Changed code is tried again, and so is code that is not committed."""
    tried: list[str] = []

    class Copies:
        def __init__(self, folder: Path, n: int) -> None:
            pass

        def check(self, tests: str) -> None:
            tried.append(tests)

        def outcome(self, fault: Fault) -> str:
            tried.append(fault.file)
            return "found"

    monkeypatch.setattr("stress.mutation._Copies", Copies)
    fault = Fault("a.py", 1, "1", "2", "", ("tests/a",))
    for commit, n in (("first", 2), ("first", 2), ("second", 4), (_CHANGED, 6), (_CHANGED, 8)):
        monkeypatch.setattr("stress.mutation._commit", lambda folder, commit=commit: commit)
        assert _tried([fault], tmp_path / "faults.csv", 1) == {fault: "found"}
        assert len(tried) == n


def test_table_of_faults_without_commits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "faults.csv").write_text("file,line,before,after,tests,outcome\na.py,1,1,2,tests/a,found\n")
    monkeypatch.setattr("stress.mutation._commit", lambda folder: "first")
    monkeypatch.setattr("stress.mutation._Copies.__init__", lambda *_: None)
    monkeypatch.setattr("stress.mutation._Copies.check", lambda *_: None)
    monkeypatch.setattr("stress.mutation._Copies.outcome", lambda *_: "found")
    with pytest.raises(ValueError, match="move the file away"):
        _tried([Fault("a.py", 1, "1", "2", "", ("tests/a",))], tmp_path / "faults.csv", 1)


def test_commit_of_a_checkout(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    equivalent = tmp_path / EQUIVALENT.relative_to(ROOT)
    equivalent.parent.mkdir()
    (tmp_path / "old.py").touch()
    equivalent.touch()
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    first = git("rev-parse", "HEAD")
    assert _commit(tmp_path) == first
    equivalent.write_text("another equivalent fault")  # which is listed after the outcomes
    assert _commit(tmp_path) == first
    git("commit", "-am", "list")
    assert _commit(tmp_path) == first
    (tmp_path / "new.py").touch()
    assert _commit(tmp_path) == _CHANGED


@pytest.mark.parametrize(("after", "status"), [("found", False), ("survived", True), ("equivalent", True)])
def test_a_low_score_and_none_are_failures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: str, status: bool
) -> None:
    fault = Fault("ardae_rl/irl/airl.py", 1, "before", after, "", ("tests/irl",))
    (tmp_path / "equivalent.csv").write_text(f"file,before,after,reason\n{fault.file},before,equivalent,none\n")
    monkeypatch.setattr("stress.mutation.EQUIVALENT", tmp_path / "equivalent.csv")
    monkeypatch.setattr("stress.mutation.sample", lambda n, seed, code: [fault])
    monkeypatch.setattr("stress.mutation._tried", lambda *_: {fault: "found" if after == "found" else "survived"})
    monkeypatch.setattr("stress.mutation._commit", lambda folder: "first")
    monkeypatch.setattr("sys.argv", ["mutation", "--seed", "3", "--out", str(tmp_path / "faults.csv")])
    with pytest.raises(SystemExit) as stop:
        mutation_main()
    assert stop.value.code == status
    last = read_csv(tmp_path / "faults_summary.csv")[-1]
    score = {"found": "100.0", "survived": "0.0", "equivalent": ""}[after]
    assert (last["code"], last["seed"], last["commit"], last["score"]) == ("all", "3", "first", score)


def test_equivalent_faults_are_in_the_code_as_it_is() -> None:
    for row in read_csv(EQUIVALENT):
        assert row["before"] in (ROOT / row["file"]).read_text() and row["reason"]


def test_judgement_of_errors() -> None:
    assert _is_documented(ValueError("`n` must be >= 1, got 0"))
    assert not _is_documented(ValueError("could not broadcast")) and not _is_documented(IndexError("`n` must be"))
    assert _is_finite({"a": (1.0, [2.0])}) and not _is_finite([1.0, float("nan")])


def test_type_errors_inside_sb3_are_faults() -> None:
    """They come from operations on wrong values; SB3's own checks are assertions and ValueErrors."""
    with pytest.raises(TypeError) as inside:
        polyak_update(None, None, 0.5)  # type: ignore[arg-type]
    assert not _is_documented(inside.value)
    with pytest.raises(AssertionError) as checked:
        FloatSchedule("text")  # type: ignore[arg-type]
    assert _is_documented(checked.value)


def _held(**more: float) -> dict[str, float]:
    return {"megabytes": 100.0, "files": 9, "processes": 0, "shared_memory": 0} | more


@pytest.mark.parametrize(
    ("held", "wrong", "note"),
    [
        ([_held()] * 5, 0, ""),
        ([_held()] * 4, 1, "too few rounds"),
        ([_held(), _held(files=12), _held(files=12), _held(files=12), _held(files=12)], 0, ""),
        ([_held(files=9 + k) for k in range(9)], 1, "files"),
        ([_held(megabytes=100.0 * 1.02**k) for k in range(9)], 1, ""),
    ],
)
def test_soak_compares_the_last_round_with_the_middle_one(held: list[dict[str, float]], wrong: int, note: str) -> None:
    row = judged(held)
    assert (row["wrong"], row["note"], row["rounds"]) == (wrong, note, len(held) - 1)


def test_soak_finds_a_leak_in_long_rounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One file is left open in each round. The shared memory of other programs does not count."""
    left_open = []
    now = iter(range(100))
    monkeypatch.setattr("stress.soak.time", SimpleNamespace(monotonic=lambda: 30.0 * next(now)))
    monkeypatch.setattr("stress.soak._shared_memory", lambda: {"others"})
    work = lambda: left_open.append((tmp_path / "file").open("w"))  # noqa: E731
    monkeypatch.setitem(ALGORITHMS, "leaking", lambda: work)
    row = _soak("leaking", minutes=3, seed=0)
    for file in left_open:
        file.close()
    assert row["rounds"] == 5 and row["note"] == "files" and row["shared_memory"] == 0


def test_a_command_is_killed_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is faster than the moment of the kill, it starts again, and what it left is compared."""
    monkeypatch.setitem(COMMANDS, "short", (["arguments"], ["table"]))
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr("stress.kills.time", SimpleNamespace(monotonic=lambda: next(now)))
    moments: list[float] = []

    def kill(arguments: list[str], folder: Path, seconds: float) -> bool:
        moments.append(seconds)
        return len(moments) % 3 != 0

    def finish(arguments: list[str], folder: Path) -> None:
        (folder / "table").write_text("number\n1\n")

    monkeypatch.setattr("stress.kills.complete", finish)
    monkeypatch.setattr("stress.kills._kill", kill)
    row = _resumed("short", 5, 0)
    assert row["killed"] == 5 and len(moments) == 7 and 0 < min(moments) < max(moments) < 10
    assert row["finished"] == row["checked"] == 3
    assert row["note"] == "table table" and row["wrong"] == 2  # what the two fast starts did not write


def test_a_resumption_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-command failed"):
        _kill(["ardae_rl", "no-such-command"], tmp_path, 600)


def test_checkpoints_that_are_not_whole(tmp_path: Path) -> None:
    model = SACNF("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, buffer_size=10, device="cpu")
    paths = [tmp_path / f"rl_model_{steps}_steps.zip" for steps in (20, 100, 1000)]
    for path in paths:
        model.save(path)
    assert whole_checkpoints(tmp_path) == (paths, [])
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    assert whole_checkpoints(tmp_path) == (paths[:2], [])
    paths[1].write_bytes(b"")
    assert whole_checkpoints(tmp_path) == (paths[:1], [paths[1].name])


def test_messages_of_a_full_disk() -> None:
    assert faults(1, "failed: the run in x: [Errno 28] No space left on device: 'x/model.zip'\n") == []
    assert faults(1, "Traceback (most recent call last):\nOSError: [Errno 28] No space left on device") == ["traceback"]
    assert faults(2, "error: unexpected position") == ["does not name the cause"]
    assert faults(0, "") == ["no error"]


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
