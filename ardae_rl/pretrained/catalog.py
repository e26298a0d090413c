"""The trained models in ``models``, beside this file: a folder for each, with SB3's zip and a description."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl.common.checks import check_choice
from ardae_rl.evaluation import load_for_evaluation

FOLDER = Path(__file__).parent / "models"
_ZIP, _DESCRIPTION = "model.zip", "model.json"


@dataclass(frozen=True)
class PretrainedModel:
    """Description of a trained model.

    Example:

    >>> from ardae_rl.pretrained import pretrained_models
    >>> model = pretrained_models()["sac_ardae-pendulum"]
    >>> model.algo, model.env_id
    ('sac_ardae', 'Pendulum-v1')

    :param name: Name of the model, and of its folder.
    :param algo: Name of its algorithm.
    :param env_id: Id of the environment that it was trained and evaluated in.
    :param env_kwargs: Arguments of that environment.
    :param command: Command that trained it.
    :param sha256: Checksum of the zip.
    :param evaluation: Result of ``ardae-rl evaluate``.
    """

    name: str
    algo: str
    env_id: str
    env_kwargs: dict[str, Any]
    command: str
    sha256: str
    evaluation: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> PretrainedModel:
        """Read the description in a folder.

        :raises ValueError: If the file is not a valid description.
        """
        path = folder / _DESCRIPTION
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"`folder` must have a {_DESCRIPTION} written by this package, got {path}") from error

    def write(self, folder: Path) -> None:
        """Write the description into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DESCRIPTION).write_text(json.dumps(asdict(self), indent=2) + "\n")

    def file(self, path: Path | None = None) -> Path:
        """Return the path of the zip, after verifying its checksum.

        :param path: Path of the zip; by default the one in this package.
        :raises ValueError: If the checksum differs from that of the evaluated file.
        """
        path = path or FOLDER / self.name / _ZIP
        if checksum(path) != self.sha256:
            raise ValueError(f"`name` must be a model whose file is intact, got {self.name!r}: {path} was changed")
        return path

    def load(self, path: Path | None = None) -> BaseAlgorithm:
        """Return the model, for prediction only, from its zip in this package or elsewhere."""
        return load_for_evaluation(self.algo, self.file(path))

    def summary(self) -> str:
        """Return a line with algorithm, environment and mean return."""
        low, high = self.evaluation["interval"]
        score = f"mean return {self.evaluation['mean_return']:.1f} [{low:.1f}, {high:.1f}]"
        return f"{self.algo} on {self.env_id}, {score} over {self.evaluation['n_episodes']} episodes"


def pretrained_models() -> dict[str, PretrainedModel]:
    """Return the models that come with the package, by name.

    Example:

    >>> from ardae_rl.pretrained import pretrained_models
    >>> "sac_ardae-pendulum" in pretrained_models()
    True
    """
    models = (PretrainedModel.read(path.parent) for path in sorted(FOLDER.glob(f"*/{_DESCRIPTION}")))
    return {model.name: model for model in models}


def find_pretrained(name: str, argument: str = "name") -> PretrainedModel:
    """Return the description of a model.

    :param argument: Name of the argument in error messages.
    :raises ValueError: For an unknown name.
    """
    models = pretrained_models()
    check_choice(argument, name, sorted(models))
    return models[name]


def load_pretrained(name: str) -> BaseAlgorithm:
    """Return a trained model for prediction: without replay buffer and learning rate schedules.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.pretrained import load_pretrained
    >>> model = load_pretrained("sac_ardae-pendulum")
    >>> observation, _ = gym.make("Pendulum-v1").reset(seed=0)
    >>> action, _ = model.predict(observation, deterministic=True)
    >>> action.shape
    (1,)

    :param name: Name of the model, as ``ardae-rl models`` lists it.
    :raises ValueError: For an unknown name, or a file with the wrong checksum.
    """
    return find_pretrained(name).load()


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
