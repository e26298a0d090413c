"""Optional dependencies: imported where they are used, with an error that names the extra to install."""

import importlib


def require(module: str, extra: str) -> None:
    """Import an optional module, or say which extra provides it.

    :param module: Name of the module.
    :param extra: Extra of this package that installs it.
    :raises ImportError: If the module is not installed.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(f"{module} is not installed; it comes with: pip install 'ardae-rl[{extra}]'") from error
