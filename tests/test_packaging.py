"""The content of the wheel, the cost of an import, and missing extras."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ardae_rl.version import __version__
from tests.conftest import ROOT, SEARCH_PATH, TIMEOUT
from tests.test_examples import code_blocks

WORKFLOW = ROOT / ".github/workflows/tests.yml"
MAKE = "import gymnasium, ardae_envs; gymnasium.make"
HEAVY = ("rl_zoo3", "matplotlib", "typer", "mujoco", "Box2D", "pandas", "optuna")


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new process that imports the package from ``path``, by default from the checkout."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)) or SEARCH_PATH}
    command = [sys.executable, "-P", "-c", code]  # -P: the current folder is not searched
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=TIMEOUT)


@pytest.mark.parametrize("module", ["ardae_rl", "ardae_rl.evaluation", "ardae_envs"])
def test_import_is_light(module: str) -> None:
    """No extra is imported, and Gymnasium keeps its own TimeLimit (rl_zoo3 replaces it)."""
    # SB3 itself imports pandas and matplotlib if they are installed; only additional imports count
    code = f"""
import sys, stable_baselines3
before = set(sys.modules)
import {module}
new = set(sys.modules) - before
print(*[name for name in {HEAVY!r} if name in new])
import gymnasium
assert gymnasium.wrappers.TimeLimit.__module__.startswith("gymnasium.")
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_estimator_needs_no_reinforcement_learning() -> None:
    done = python("import sys, ardae_rl.score; print({'stable_baselines3', 'gymnasium'} & sys.modules.keys())")
    assert done.stdout.strip() == "set()", done.stderr


def test_public_names() -> None:
    done = python(
        "import ardae_rl; print(*[getattr(ardae_rl, name) for name in ardae_rl.__all__]); from ardae_rl import *"
    )
    assert done.returncode == 0, done.stderr
    done = python("import ardae_rl; print({*ardae_rl.__all__} <= {*dir(ardae_rl)})")
    assert done.stdout == "True\n"
    done = python("import ardae_rl; ardae_rl.SAC")
    assert "it has AIRL, BC, DVBF, E2C, GAIL, GANGCL, SACARDAE, SACNF, SQIL, EnergyBasedGAN, " in done.stderr


def without(missing: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process in which these packages seem not to be installed."""
    return python(f"""
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *others):
        return None if name.split(".")[0] in {missing!r} else self.finder.find_spec(name, *others)
import stable_baselines3
for name in [name for name in sys.modules if name.split(".")[0] in {missing!r}]:
    del sys.modules[name]
sys.meta_path[:] = map(Hiding, sys.meta_path)
{code}
""")


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("typer", "import ardae_rl.cli.main", "zoo"),
        ("rl_zoo3", "import ardae_rl.cli.zoo as zoo; zoo.register()", "zoo"),
        ("sb3_contrib", "from ardae_rl.registry import algorithm_class; algorithm_class('tqc')", "zoo"),
        ("matplotlib", "from ardae_rl.plotting import learning_curves; learning_curves(['.'])", "plots"),
        ("minari", "from ardae_rl.irl import load_trajectories; load_trajectories('minari:a/b-v0')", "irl"),
        ("zuko", "from ardae_rl import EnergyBasedGAN; EnergyBasedGAN(2)", "flows"),
        ("cma", "from ardae_rl.world_models.evolution import CMAES; CMAES(3)", "world-models"),
        ("numba", "import ardae_envs.rasterizer", "box2d"),
        ("Box2D", f"{MAKE}('ardae/CarRacingFast-v0')", "box2d"),
        ("pygame", f"{MAKE}('ardae/CarRacingFast-v0')", "box2d"),
        ("pygame", f"{MAKE}('ardae/CarRacingRandomStart-v0')", "box2d"),
        ("mujoco", f"{MAKE}('ardae/HumanoidRllab-v0')", "mujoco"),
        ("mujoco", f"{MAKE}('ardae/HopperAbsorbing-v5')", "mujoco"),
        ("mujoco", f"{MAKE}('ardae/MultiGoalMaze-v0')", "mazes"),
        ("vizdoom", f"{MAKE}('ardae/TakeCover-v0')", "doom"),
        ("gymnasium_robotics", "from ardae_envs.multi_goal_maze import MultiGoalMaze; MultiGoalMaze()", "mazes"),
        ("ray", "from ardae_rl.runs.cluster import ray_workers\nwith ray_workers(): pass", "ray"),
    ],
)
def test_missing_extra_is_named(missing: str, code: str, extra: str) -> None:
    done = without((missing,), code)
    assert done.returncode == 1
    assert f"{missing} is not installed; it comes with: pip install 'ardae-rl[{extra}]'" in done.stderr


def test_algorithms_need_no_extra() -> None:
    """Algorithms can be imported without extras."""
    done = without(("rich", "typer", "cma", "ray", "numba", "Box2D", "pygame", "zuko"), "from ardae_rl import *")
    assert done.returncode == 0, done.stderr


def test_first_example_needs_no_extra() -> None:
    """The README's first snippet, as a reader types it after ``pip install .``."""
    line, code = next(code_blocks(ROOT / "README.md"))
    assert line < 40 and "SACARDAE" in code
    done = without((*HEAVY, "rich", "tqdm", "yaml", "pygame", "zuko"), code)
    assert done.returncode == 0, done.stderr


def test_demo_installs_little() -> None:
    """``make demo`` has an environment of its own, with one extra."""
    rules = dict(re.findall(r"^(\S+):(?!=)(.*\n(?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert rules["demo"].split()[0] == ".venv-demo/.installed"
    installed = [line for line in rules[".venv-demo/.installed"].splitlines() if "pip install" in line]
    assert [line.split("constraints.txt ")[1] for line in installed] == ['-e ".[demo]"']
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {canonicalize_name(Requirement(part).name) for part in extras["demo"]}
    assert not names & {"ray", "vizdoom", "mypy", "ardae-rl"}, "ardae-rl would bring another extra"


def test_version_is_one() -> None:
    assert f'__version__ = "{__version__}"' in (ROOT / "ardae_rl/version.py").read_text()


def test_constraints_are_exact() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    assert len(lines) > 50
    assert [line for line in lines if line.count("==") != 1 or "+" in line or "@" in line] == []


@pytest.fixture
def constrained() -> dict[str, str]:
    """The versions of constraints.txt. With others installed, or another Python, the requirements may be others."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    pins = (line.split("==") for line in lines)
    versions: dict[str, str] = {canonicalize_name(name): version for name, version in pins}
    found = importlib.metadata.distributions()
    installed: dict[str, str] = {canonicalize_name(part.name): part.version for part in found}
    differ = [name for name in versions if installed.get(name, "").partition("+")[0] != versions[name]]
    if differ or sys.version_info[:2] != (3, 11):
        pytest.skip("other versions than those of constraints.txt are installed")
    return versions


def test_constraints_hold_all_that_is_installed_for_development(constrained: dict[str, str]) -> None:
    """Every distribution that ``.[all,dev]`` needs on this machine, as the installed metadata say."""
    needed = {canonicalize_name(part.name) for part in _closure("ardae-rl[all,dev]")}
    assert len(needed) > 150
    assert sorted(needed - constrained.keys() - {"ardae-rl"}) == []


def test_lowest_versions_can_be_installed(constrained: dict[str, str]) -> None:
    """No requirement excludes the versions that the workflow's job ``lowest`` asks for."""
    (line,) = (line for line in WORKFLOW.read_text().splitlines() if "stable-baselines3==" in line)
    lowest = dict(re.findall(r'"([\w-]+)==([\d.]+?)(?:\.\*)?"', line))
    assert lowest.keys() == {"stable-baselines3", "torch", "gymnasium"}
    parts = [part for part in _closure("ardae-rl[all,dev]") if canonicalize_name(part.name) in lowest]
    assert [f"{part}" for part in parts if lowest[canonicalize_name(part.name)] not in part.specifier] == []


def test_slow_tests_run_in_a_workflow() -> None:
    assert "'constraints' && 'test-all' || 'test'" in WORKFLOW.read_text()


def _closure(requirement: str) -> list[Requirement]:
    """Return a requirement and all that follow from it, with extras, where the markers hold."""
    seen: set[tuple[str, str]] = set()  # names with an extra, or "" for none
    found, waiting = [], [Requirement(requirement)]
    while waiting:
        required = waiting.pop()
        found.append(required)
        name = canonicalize_name(required.name)
        for extra in {"", *required.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            parts = map(Requirement, _requires(name))
            waiting += [part for part in parts if part.marker is None or part.marker.evaluate({"extra": extra})]
    return found


def _requires(name: str) -> list[str]:
    """Return the requirements of an installed distribution, and those of this package from its project file."""
    if name != "ardae-rl":
        return importlib.metadata.requires(name) or []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    return [*project["dependencies"], *(f"{part}; extra == '{extra}'" for extra, parts in extras for part in parts)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_wheel_content(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"ardae_rl", "ardae_envs", f"ardae_rl-{__version__}.dist-info"}
    assert {
        "ardae_rl/py.typed",
        "ardae_envs/py.typed",
        "ardae_rl/zoo_configs/sac_ardae.yml",
        "ardae_rl/zoo_configs/sac_nf.yml",
    } <= set(names)


def test_wheel_finds_its_configs(wheel: Path, tmp_path: Path) -> None:
    """A package unpacked elsewhere reads its own copy, not that of the checkout."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = python("from ardae_rl.presets import config_dir; print(config_dir())", tmp_path)
    assert Path(done.stdout.strip()) == tmp_path / "ardae_rl/zoo_configs", done.stderr
