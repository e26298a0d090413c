"""Small faults at random places of the code: the score is the percentage that the tests of the code detect.

cosmic-ray makes them: another operator, number or condition, a removed decorator, a loop without iterations. Default
values, and constants of modules and classes, are left out: they are settings, and another value is another choice.
Faults that change nothing that a caller could see are listed in ``equivalent.csv``, with the reason.
"""

import argparse
import ast
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, permutations
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

from ardae_rl.common.checks import check_count
from ardae_rl.common.optional import require
from ardae_rl.runs.progress import progress_bar
from ardae_rl.runs.tables import merge_csv, print_table, read_csv, versions
from stress.covering import CoveringTests, fastest_first, split
from stress.mutants import ROOT, copy_project, failure, require_passing, run_tests

EQUIVALENT = Path(__file__).with_name("equivalent.csv")
# The folders with the tests of each folder or file; plots and commands are left out
TESTS: dict[str, tuple[str, ...]] = {
    "ardae_rl/score": ("tests/score",),
    "ardae_rl/sac_ardae": ("tests/sac_ardae",),
    "ardae_rl/sac_nf": ("tests/sac_nf",),
    "ardae_rl/common/critics": ("tests/common/critics", "tests/sac_gaussian"),
    "ardae_rl/common/soft_actor_critic.py": ("tests/common/critics", "tests/sac_gaussian"),
    "ardae_rl/irl": ("tests/irl",),
    "ardae_rl/ebm": ("tests/ebm",),
    "ardae_rl/e2c": ("tests/e2c",),
    "ardae_rl/dvbf": ("tests/dvbf",),
    "ardae_rl/latent": ("tests/latent", "tests/e2c", "tests/dvbf"),
    "ardae_rl/planning": ("tests/planning", "tests/e2c", "tests/dvbf"),
    "ardae_rl/world_models": ("tests/world_models",),
    "ardae_rl/runs": ("tests/runs", "tests/grid"),
}
_LEFT_OUT = ("plots.py", "film.py", "search_space.py", "__init__.py")
_OPERATORS = (
    *(f"ReplaceBinaryOperator_{a}_{b}" for a, b in permutations(("Add", "Sub", "Mul", "Div"), 2)),
    *("ReplaceBinaryOperator_Pow_Mul", "ReplaceBinaryOperator_FloorDiv_Mul", "ReplaceBinaryOperator_Mod_Add"),
    *(f"ReplaceComparisonOperator_{a}" for a in ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *("ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is"),
    *("ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not", "AddNot", "NumberReplacer"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "RemoveDecorator", "ZeroIterationForLoop"),
)
_MINUTES = 10  # after which the tests count as stuck, and the fault as found
# Statuses of pytest: a test fails, a module of tests cannot be imported, tests/conftest.py cannot be imported
_FOUND = (1, 2, 4)
_LEAST_SCORE = 92
_CHANGED = "changed"  # instead of a commit: outcomes of uncommitted code are not reused


class Fault(NamedTuple):
    """A fault at one place of a file: the code of the file with the fault, and the line before and after."""

    file: str
    line: int
    before: str
    after: str
    code: str
    tests: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the fault in the list of equivalent ones, which has no line numbers."""
        return self.file, self.before, self.after


def sample(n: int, seed: int, code: str = "ardae_rl") -> list[Fault]:
    """Return ``n`` faults at random places without replacement, each by a random operator that applies there.

    :param code: Beginning of the paths of the files.
    :raises ValueError: If no path begins so.
    """
    rng = random.Random(seed)
    files = [(file, tests) for file, tests in _files() if file.startswith(code)]
    if not files:
        raise ValueError(f"`code` must be the beginning of a path such as ardae_rl/irl, got {code!r}")
    places = [(file, tests, *place) for file, tests in files for place in sorted(_places(ROOT / file).items())]
    drawn = (_fault(file, tests, *rng.choice(ways)) for file, tests, _, ways in rng.sample(places, len(places)))
    return list(islice((fault for fault in drawn if fault is not None), n))


def _files() -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, tests in TESTS.items():
        path = ROOT / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            if file.name not in _LEFT_OUT:
                yield str(file.relative_to(ROOT)), tests


def _places(path: Path) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Return the operators that apply to each place (line, column), with the index of the occurrence."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator

    tree = get_ast_from_path(path)
    settings = _settings(ast.parse(path.read_text()))
    found: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in _OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(places):
            if not any(first <= start < last for first, last in settings):
                found.setdefault(start, []).append((name, occurrence))
    return found


def _settings(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the first and the last place of each default value, and of each constant of a module or a class."""
    values: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            values += [*node.args.defaults, *node.args.kw_defaults]
        if isinstance(node, ast.Module | ast.ClassDef):
            values += [line.value for line in node.body if isinstance(line, ast.Assign | ast.AnnAssign)]
    return [
        ((value.lineno, value.col_offset), (value.end_lineno or 0, value.end_col_offset or 0))
        for value in values
        if value is not None
    ]


def _fault(file: str, tests: tuple[str, ...], operator: str, occurrence: int) -> Fault | None:
    """Return a fault, or None if the code means the same, or if a separator was mistaken for an operator."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / file).read_text()
    code = mutate_code(source, get_operator(f"core/{operator}")(), occurrence)
    if code is None or not _is_another_program(code, source):
        return None
    pairs = zip(source.splitlines(), [*code.splitlines(), ""], strict=False)
    line, before, after = next((k, a.strip(), b.strip()) for k, (a, b) in enumerate(pairs, start=1) if a != b)
    return Fault(file, line, before, after, code, tests)


def _is_another_program(code: str, source: str) -> bool:
    try:
        return ast.dump(ast.parse(code)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


class _Copies:
    """Copies of the project, so that several faults are tried at once."""

    def __init__(self, folder: Path, n: int) -> None:
        self._folder = folder
        self._covering: dict[str, CoveringTests] = {}
        self._free: Queue[Path] = Queue()
        for index in range(n):
            self._free.put(copy_project(folder / str(index)))

    def check(self, tests: str) -> None:
        """Run the tests of a folder without a fault in a free copy, and record which lines each one executes.

        They run again with the fastest first, as they do with a fault.

        :raises RuntimeError: If they do not pass in both orders, so that they could not detect a fault.
        """
        copy = self._free.get()
        record = self._folder / f"{tests.replace('/', '-')}.coverage"
        try:
            require_passing([tests], copy, record)
            self._covering[tests] = CoveringTests(record, copy)
            require_passing(fastest_first([self._covering[tests]]), copy)
        finally:
            self._free.put(copy)

    def outcome(self, fault: Fault) -> str:
        """Run the tests with a fault in a free copy, and return "found", "stuck" or "survived".

        Those that execute its line are the first, because they find most faults.

        :raises RuntimeError: If pytest ends with any other status.
        """
        parts = split([self._covering[tests] for tests in fault.tests], fault.file, fault.line)
        copy = self._free.get()
        path = copy / fault.file
        original = path.read_text()
        path.write_text(fault.code)
        try:
            outcomes = (_outcome(tests, copy) for tests in parts if tests)
            return next((outcome for outcome in outcomes if outcome != "survived"), "survived")
        finally:
            path.write_text(original)
            self._free.put(copy)


def _outcome(tests: Sequence[str], copy: Path) -> str:
    try:
        done = run_tests(tests, copy, 60 * _MINUTES)
    except subprocess.TimeoutExpired:
        return "stuck"
    if done.returncode not in (0, *_FOUND):
        raise failure(" ".join(tests), done)
    return "found" if done.returncode in _FOUND else "survived"


def rows_by_folder(outcomes: dict[Fault, str], equivalent: set[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return the scores by folder and overall: the percentage of faults found, without equivalent ones."""
    rows = []
    for name in [*TESTS, "all"]:
        judged = {f: o for f, o in outcomes.items() if name == "all" or f.file.startswith(name)}
        survived = [fault for fault, outcome in judged.items() if outcome == "survived"]
        missed = [fault for fault in survived if fault.key not in equivalent]
        n = len(judged) - len(survived) + len(missed)
        row = {"code": name, "faults": len(judged), "equivalent": len(survived) - len(missed), "survived": len(missed)}
        rows.append(row | {"score": round(100 * (1 - len(missed) / n), 1) if n else ""})
    return rows


def main() -> None:
    """Try a sample of faults, except those that were tried before with the same code.

    End with status 1 if the score is too low, or if no fault could be judged.
    """
    parser = argparse.ArgumentParser(prog="python -m stress.mutation", description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=300, help="Number of faults.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--code", default="ardae_rl", help="Beginning of the paths of the files to change.")
    parser.add_argument("--out", type=Path, default=Path("runs/stress/mutation.csv"), help="Table of the faults.")
    options = parser.parse_args()
    check_count("count", options.count)
    check_count("jobs", options.jobs)
    require("cosmic_ray", "dev")
    require("coverage", "dev")
    faults = sample(options.count, options.seed, options.code)
    outcomes = _tried(faults, options.out, options.jobs)
    equivalent = {(row["file"], row["before"], row["after"]) for row in read_csv(EQUIVALENT)}
    for fault, outcome in outcomes.items():
        if outcome == "survived" and fault.key not in equivalent:
            print(f"{fault.file}:{fault.line}: {fault.before}  ->  {fault.after}")
    rows = rows_by_folder(outcomes, equivalent)
    which = {"seed": options.seed, "sample": options.code, "commit": _commit(ROOT)}
    summary = options.out.with_name(f"{options.out.stem}_summary.csv")
    merge_csv(summary, [which | row | versions() for row in rows], (*which, "code"))
    print_table(rows, f"{options.out}")
    sys.exit(rows[-1]["score"] == "" or rows[-1]["score"] < _LEAST_SCORE)


def _tried(faults: list[Fault], out: Path, jobs: int) -> dict[Fault, str]:
    columns = ("file", "line", "before", "after", "tests", "commit")
    commit = _commit(ROOT)
    known = {} if commit == _CHANGED else {tuple(row.get(k) for k in columns): row["outcome"] for row in read_csv(out)}

    def cells(fault: Fault) -> tuple[str, ...]:
        return fault.file, str(fault.line), fault.before, fault.after, " ".join(fault.tests), commit

    outcomes = {fault: known[cells(fault)] for fault in faults if cells(fault) in known}
    new = [fault for fault in faults if fault not in outcomes]
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(jobs) as pool,
        progress_bar("faults", len(new), shown=True) as show,
    ):
        copies = _Copies(Path(folder), jobs)
        list(pool.map(copies.check, dict.fromkeys(tests for fault in new for tests in fault.tests)))
        for fault, outcome in zip(new, pool.map(copies.outcome, new), strict=True):
            outcomes[fault] = outcome
            merge_csv(out, [dict(zip(columns, cells(fault), strict=True)) | {"outcome": outcome}], columns)
            show(len(outcomes) - len(faults) + len(new))
    return outcomes


def _commit(folder: Path) -> str:
    """Return the commit that changed a checkout last, or ``_CHANGED`` if its files are not those of the commit.

    The list of equivalent faults does not count, because it is written after the outcomes.
    """

    def git(*arguments: str) -> str:
        which = ["--", ".", f":!{EQUIVALENT.relative_to(ROOT)}"]
        done = subprocess.run(["git", *arguments, *which], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return _CHANGED if git("status", "--porcelain") else git("log", "-1", "--format=%H")


if __name__ == "__main__":
    main()
