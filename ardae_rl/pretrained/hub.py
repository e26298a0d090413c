"""Upload models to the Hugging Face Hub and download them; a folder can take the place of the Hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl.common.optional import require
from ardae_rl.pretrained.catalog import PretrainedModel

_FILES = ("model.zip", "model.json")


def push_to_hub(folder: str | Path, repo_id: str, message: str = "Add a model of ardae-rl") -> None:
    """Upload a model with its description.

    Example:

    >>> import tempfile
    >>> from ardae_rl.pretrained import load_from_hub, push_to_hub
    >>> from ardae_rl.pretrained.catalog import FOLDER
    >>> copy = tempfile.mkdtemp()
    >>> push_to_hub(FOLDER / "sac_ardae-pendulum", copy)  # "user/name" on the Hub
    >>> model = load_from_hub(copy)

    :param folder: Folder with ``model.zip`` and ``model.json``, as ``ardae_rl.pretrained.adding`` writes them.
    :param repo_id: Repository on the Hub, "user/name", which is created if it does not exist; or an existing folder.
    :param message: Message of the commit.
    :raises ValueError: If there is no valid description, or its checksum is not that of the zip.
    :raises ImportError: If a repository is given and huggingface_sb3 is not installed.
    """
    folder = Path(folder)
    PretrainedModel.read(folder).file(folder / "model.zip")  # verifies the checksum
    if Path(repo_id).is_dir():
        for name in _FILES:
            shutil.copy2(folder / name, Path(repo_id) / name)
        return
    require("huggingface_sb3", "hub")
    from huggingface_sb3 import push_to_hub as upload

    for name in _FILES:
        upload(repo_id, str(folder / name), message)


def load_from_hub(repo_id: str) -> BaseAlgorithm:
    """Download a model, verify its checksum against its description, and load it for prediction.

    Example:

    >>> from ardae_rl.pretrained import load_from_hub
    >>> from ardae_rl.pretrained.catalog import FOLDER
    >>> model = load_from_hub(str(FOLDER / "sac_ardae-pendulum"))  # "user/name" on the Hub

    The checksum protects against damage, not against tampering: whoever can change the zip can change the description.
    huggingface_sb3 therefore refuses to download unless the environment variable TRUST_REMOTE_CODE is set.

    :param repo_id: Repository on the Hub, "user/name", or an existing folder.
    :raises ValueError: If there is no valid description, its checksum is not that of the zip, or ``TRUST_REMOTE_CODE``
        is not set.
    :raises ImportError: If a repository is given and huggingface_sb3 is not installed.
    """
    if Path(repo_id).is_dir():
        folder = Path(repo_id)
        return PretrainedModel.read(folder).load(folder / "model.zip")
    require("huggingface_sb3", "hub")
    from huggingface_hub import hf_hub_download
    from huggingface_sb3 import load_from_hub as download

    folder = Path(download(repo_id, "model.json")).parent  # in the cache; its name is the commit's hash
    description = PretrainedModel.read(folder)
    # The zip of the same commit, because the repository may change between the downloads
    return description.load(Path(hf_hub_download(repo_id, "model.zip", revision=folder.name)))
