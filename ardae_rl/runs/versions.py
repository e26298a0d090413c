"""The versions of the packages that a result depends on."""

import importlib.metadata
import platform

from ardae_rl.version import __version__

_DISTRIBUTIONS = ("stable-baselines3", "gymnasium", "torch", "numpy", "mujoco", "box2d", "box2d-py")


def package_versions() -> dict[str, str]:
    """Return the versions by the names of the distributions; MuJoCo's and Box2D's only if they are installed."""
    versions = {"python": platform.python_version(), "ardae-rl": __version__}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
