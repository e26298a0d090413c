"""The test suites of Stable-Baselines3 and sb3-contrib, with the package's algorithms in place of theirs."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
# Distribution whose source archive has the tests, its class, and the class that replaces it
SUITES = (
    ("stable-baselines3", "stable_baselines3:SAC", "ardae_rl:SACARDAE"),
    ("stable-baselines3", "stable_baselines3:SAC", "ardae_rl:SACNF"),
    ("sb3-contrib", "sb3_contrib:TQC", "ardae_rl:SACARDAE"),
    ("sb3-contrib", "sb3_contrib:TQC", "ardae_rl:SACNF"),
    ("sb3-contrib", "sb3_contrib:CrossQ", "ardae_rl:SACARDAE"),
    ("sb3-contrib", "sb3_contrib:CrossQ", "ardae_rl:SACNF"),
)
# Reasons for what our classes refuse on purpose, by a pattern of the test and its error
EXPECTED = {
    r"use_sde": "no generalized state-dependent exploration, which perturbs a Gaussian's mean",
    r"CartPole.*ValueError: `action_space` must be a Box": "a ValueError where SB3 asserts",
}


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Run the suites against ``count`` substitutions. The archives come from the package index."""
    del seed  # the tests have their own
    with tempfile.TemporaryDirectory() as folder:
        return [compared(_source(Path(folder), suite[0]), *suite) for suite in SUITES[: int(count)]]


def compared(source: Path, distribution: str, theirs: str, ours: str) -> dict[str, Any]:
    """Run the tests of a distribution with our class in place of theirs.

    :param source: Folder of the distribution's source.
    :param distribution: Its name.
    :param theirs: The replaced class, as ``module:Class``.
    :param ours: The class that replaces it.
    :return: A row of the table. Failures with our class alone count as wrong, unless we refuse the test on purpose.
    """
    name, our_name = (text.partition(":")[2] for text in (theirs, ours))
    results = _results(source, theirs, ours, [])
    failed = {test: message for test, message in results.items() if message not in ("passed", "skipped")}
    again = [re.sub(rf"\b{our_name}\b", name, test) for test in failed]
    original = _results(source, theirs, theirs, again) if again else {}
    ours_alone = {
        test: message
        for (test, message), same in zip(failed.items(), again, strict=True)
        if original.get(same) == "passed"
    }
    refused = {test: reason for test, message in ours_alone.items() if (reason := refusal(f"{test}: {message}"))}
    unexpected = {test: message for test, message in ours_alone.items() if test not in refused}
    return {
        "suite": f"{distribution} {version(distribution)}",
        "class": f"{our_name} for {name}",
        "passed": sum(message == "passed" for message in results.values()),
        "failed_with_theirs": len(failed) - len(ours_alone),
        "refused": len(refused),
        "reasons": "; ".join(sorted(set(refused.values()))),
        "wrong": len(unexpected),
        "note": "; ".join(f"{test}: {message}" for test, message in unexpected.items()),
    }


def refusal(failure: str) -> str:
    """Return the reason for a failure that is intended, or an empty text for any other."""
    return next((reason for pattern, reason in EXPECTED.items() if re.search(pattern, failure)), "")


def _source(folder: Path, distribution: str) -> Path:
    """Download and unpack the source archive of the installed version; return its folder."""
    name = f"{distribution.replace('-', '_')}-{version(distribution)}"
    if not (folder / name).exists():
        download = [
            "download",
            *"--quiet --no-deps --no-binary :all:".split(),
            f"{distribution}=={version(distribution)}",
        ]
        subprocess.run([sys.executable, "-m", "pip", *download, "--dest", folder], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name


def _results(source: Path, theirs: str, ours: str, tests: list[str]) -> dict[str, str]:
    """Run the given tests, or all if there are none, and return their outcomes."""
    file = source / "results.json"
    file.unlink(missing_ok=True)
    paths = f"{_ROOT}{os.pathsep}{_ROOT / 'envs'}"
    environment = os.environ | {"SUBSTITUTION": f"{theirs} {ours} {file}", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "stress.substitution"]
    command += ["--continue-on-collection-errors", *(tests or ["tests"])]
    finished = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if not file.exists():
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stdout[-2000:]}{finished.stderr[-2000:]}")
    results: dict[str, str] = json.loads(file.read_text())
    return results
