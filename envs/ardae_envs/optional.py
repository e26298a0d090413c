"""Optional dependencies: an error that names the extra to install."""

import importlib

from gymnasium.error import DependencyNotInstalled


def require(module: str, extra: str) -> None:
    """Import an optional module, or say which extra provides it.

    :param module: Name of the module.
    :param extra: Extra of ardae-rl that installs it.
    :raises DependencyNotInstalled: If the module is not installed.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise missing(module, extra) from error


def missing(module: str, extra: str) -> DependencyNotInstalled:
    """Return the error about an optional module that is not installed.

    :param module: Name of the module.
    :param extra: Extra of ardae-rl that installs it.
    """
    return DependencyNotInstalled(f"{module} is not installed; it comes with: pip install 'ardae-rl[{extra}]'")
