"""The hyper-parameter files of ``zoo_configs/``."""

import re
from pathlib import Path

from ardae_rl.common.optional import require
from ardae_rl.registry import OUR_ALGORITHMS


def config_dir() -> Path:
    """The folder of the ``<algo>.yml`` files: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    for folder in (package / "zoo_configs", package.parent / "zoo_configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no folder zoo_configs in {package} nor in {package.parent}")


def config_file(algo: str, preset: str | None = None) -> Path:
    """The hyper-parameter file that ``train`` reads: ours, RL Zoo's for a stock algorithm, or a named preset.

    :raises ValueError: for a preset that the algorithm does not have
    """
    if preset is None:
        require("rl_zoo3", "zoo")
        import rl_zoo3

        folder = config_dir() if algo in OUR_ALGORITHMS else Path(rl_zoo3.__file__).parent / "hyperparams"
        return folder / f"{algo}.yml"
    presets = {path.stem.removeprefix(f"{algo}_"): path for path in config_dir().glob("*.yml") if owner(path) == algo}
    presets.pop(algo, None)
    if preset not in presets:
        accepted = ", ".join(sorted(presets)) or "none"
        raise ValueError(f"--preset: {algo} has no preset {preset!r}; accepted: {accepted}")
    return presets[preset]


def owner(config: Path) -> str | None:
    """The algorithm of ours that a file is for: ``sac_ardae`` for ``sac_ardae.yml`` and ``sac_ardae_paper.yml``."""
    names = [name for name in OUR_ALGORITHMS if config.stem == name or config.stem.startswith(f"{name}_")]
    return max(names, key=len, default=None)


def used_block(config: Path, env_id: str) -> str:
    """One line that says which block of a yml file RL Zoo takes; it falls back to ``default`` without a word."""
    import yaml

    blocks = yaml.safe_load(config.read_text())
    if env_id in blocks:
        return f"{config.name}: hyper-parameters of block {env_id!r}"
    name = re.sub(r"-v\d+$", "", env_id)
    versions = [key for key in blocks if re.fullmatch(re.escape(name) + r"-v\d+", key)]
    hint = f" (it has {', '.join(versions)})" if versions else ""
    return f"{config.name}: no block {env_id!r}{hint}; hyper-parameters of block 'default'"
