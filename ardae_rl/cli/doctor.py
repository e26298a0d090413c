"""``ardae-rl doctor``: versions, extras and devices, as text to paste into an issue."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator
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
    yield f"matrix products: {_matrix_products()}"
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


def _matrix_products() -> str:
    """Return the speed of PyTorch's matrix products, with a hint if the processor can do much better."""
    a, b = th.rand(256, 256), th.rand(256, 256)
    speed = _gflops(lambda: th.mm(a, b))
    text = f"{speed:.0f} GFLOP/s"
    try:  # an internal operation of PyTorch
        other = _gflops(lambda: th.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    except (AttributeError, RuntimeError):
        return text
    if other < 1.5 * speed:
        return text
    return f"{text}; oneDNN reaches {other:.0f}. On AMD processors: docs/performance.md, 'AMD processors'"


def _gflops(product: Callable[[], object], n_repeats: int = 20) -> float:
    """Return the speed of a product of two matrices of 256 x 256, on one thread, the best of five measurements."""
    n_threads, times = th.get_num_threads(), []
    th.set_num_threads(1)
    try:
        for _ in range(5):
            start = time.process_time()
            for _ in range(n_repeats):
                product()
            times.append(time.process_time() - start)
    finally:
        th.set_num_threads(n_threads)
    return 2e-9 * 256**3 * n_repeats / max(min(times), 1e-9)


def _files() -> Iterator[str]:
    package = Path(ardae_rl.__file__).parent
    checkout = (package.parent / "pyproject.toml").exists()
    yield f"package: {'a checkout' if checkout else 'installed'}; settings {'found' if config_dir() else 'missing'}"
    experiments = importlib.util.find_spec("experiments") is not None
    yield f"experiments, for `reproduce`: {'found' if experiments else 'missing; they need a checkout'}"


def _variable(name: str) -> str:
    return os.environ.get(name, "not set")
