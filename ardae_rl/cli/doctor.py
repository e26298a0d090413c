"""``ardae-rl doctor``: versions, extras and devices, as text to paste into an issue."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch as th

import ardae_rl
from ardae_rl.presets import config_dir
from ardae_rl.runs.versions import package_versions

# The modules that each extra of pyproject.toml installs, except extras that combine others or are for development
EXTRAS = {
    "zoo": ("rl_zoo3", "sb3_contrib", "moviepy", "pandas", "pygame", "yaml", "requests", "rich", "tqdm", "typer"),
    "plots": ("matplotlib", "scipy"),
    "demo": ("matplotlib", "yaml", "rich", "tqdm", "typer"),
    "mujoco": ("mujoco",),
    "box2d": ("Box2D", "pygame", "numba"),
    "doom": ("vizdoom",),
    "mazes": ("gymnasium_robotics",),
    "world-models": ("cma",),
    "flows": ("zuko",),
    "irl": ("minari", "h5py"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "hub": ("huggingface_sb3",),
    "tracking": ("wandb",),
    "ray": ("ray",),
    "experiments": ("ot",),
    "vision": ("torchvision",),
}


def report() -> str:
    """Return the report.

    Example:

    >>> from ardae_rl.cli.doctor import report
    >>> report().splitlines()[0]
    'versions'
    """
    sections = {"versions": _versions(), "extras": _extras(), "devices": _devices(), "files": _files()}
    return "\n".join(f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections.items())


def _versions() -> Iterator[str]:
    yield f"system: {platform.platform()}, {platform.machine()}"
    for name, version in package_versions().items():
        yield f"{name}: {version}"


def _extras() -> Iterator[str]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        advice = f"missing {', '.join(missing)}: pip install 'ardae-rl[{extra}]'"
        yield f"{extra}: {advice if missing else 'installed'}"


def _devices() -> Iterator[str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"cpu: {cores} cores, of which PyTorch uses {th.get_num_threads()}"
    yield f"OMP_NUM_THREADS: {_variable('OMP_NUM_THREADS')}"
    if th.cuda.is_available():
        for index in range(th.cuda.device_count()):
            properties = th.cuda.get_device_properties(index)
            yield f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    else:
        yield "cuda: none"
    yield f"mps: {'available' if th.backends.mps.is_available() else 'none'}"
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "none, which `record` does not need"
    yield f"display: {display if platform.system() == 'Linux' else 'not needed on this system'}"
    yield f"MUJOCO_GL: {_variable('MUJOCO_GL')}"


def _files() -> Iterator[str]:
    package = Path(ardae_rl.__file__).parent
    checkout = (package.parent / "pyproject.toml").exists()
    yield f"package: {'a checkout' if checkout else 'installed'}; settings {'found' if config_dir() else 'missing'}"
    experiments = importlib.util.find_spec("experiments") is not None
    yield f"experiments, for `reproduce`: {'found' if experiments else 'missing; they need a checkout'}"


def _variable(name: str) -> str:
    return os.environ.get(name, "not set")
