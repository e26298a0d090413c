"""Checkpoints of a benchmark's run: model, replay buffer and tables. A checkpoint is either complete or missing.

A checkpoint is a folder of its own, ``checkpoint_<steps>``, with ``model.zip``, ``tables.json`` and the files of the
replay buffer. It is made as ``unfinished_checkpoint``, and renamed when all of it is on the disk; the earlier one is
deleted after that. Of the replay buffer, each checkpoint writes the new rows only, and has links to the earlier ones:
see :mod:`ardae_rl.grid.buffer_files`.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gymnasium as gym
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from ardae_rl.grid.buffer_files import load_buffer, save_buffer
from ardae_rl.runs.files import read_json, sync, write_json

_UNFINISHED = "unfinished_checkpoint"
_LAST: WeakKeyDictionary[ReplayBuffer, Path] = WeakKeyDictionary()  # the checkpoint that a buffer shares its rows with


def checkpoints(folder: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first."""
    return sorted(folder.glob("checkpoint_*"), key=_n_timesteps)


def _n_timesteps(checkpoint: Path) -> int:
    return int(checkpoint.name.split("_")[1])


def save(model: OffPolicyAlgorithm, tables: Any, folder: Path) -> None:
    """Save a checkpoint, then delete the earlier ones.

    :param model: The model, with its replay buffer. Each row added since the earlier checkpoint must be counted in
        ``num_timesteps``, and of the rows saved there, only the last one may have changed.
    :param tables: Anything that JSON can hold.
    :param folder: Folder of the run.
    """
    earlier = checkpoints(folder)
    new = folder / _UNFINISHED
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    model.save(new / "model")
    sync(new / "model.zip")
    buffer = replay_buffer(model)
    if earlier and _LAST.get(buffer) == earlier[-1].resolve():
        n_new = (model.num_timesteps - _n_timesteps(earlier[-1])) // buffer.n_envs
        save_buffer(buffer, new, earlier[-1], n_new)
    else:
        save_buffer(buffer, new)
    write_json(new / "tables.json", tables)
    _LAST[buffer] = new.rename(folder / f"checkpoint_{model.num_timesteps}").resolve()
    for path in earlier:
        delete(path)


def load(
    algorithm: type[OffPolicyAlgorithm], env: GymEnv | str, checkpoint: Path, device: str = "auto"
) -> tuple[OffPolicyAlgorithm, Any]:
    """Return the model and the tables of a checkpoint.

    :param algorithm: Class of the model.
    :param env: Environment to continue in, or its id.
    :param checkpoint: Folder of the checkpoint.
    :param device: Device of the model.
    :raises ValueError: If a file of the replay buffer is missing or damaged.
    """
    model = load_model(algorithm, env, checkpoint / "model", device)
    buffer = replay_buffer(model)
    load_buffer(buffer, checkpoint)
    _LAST[buffer] = checkpoint.resolve()
    return model, read_json(checkpoint / "tables.json")


def load_model(
    algorithm: type[OffPolicyAlgorithm], env: GymEnv | str, path: Path, device: str = "auto"
) -> OffPolicyAlgorithm:
    """Return a saved model with an empty replay buffer.

    :param algorithm: Class of the model.
    :param env: Environment to continue in, or its id.
    :param path: File of the model.
    :param device: Device of the model.
    """
    with warnings.catch_warnings():
        # SB3 mistakes the class that it chose for n-step returns for a custom one
        warnings.filterwarnings("ignore", r"`n_steps=\d+` is ignored because a custom `replay_buffer_class`")
        return algorithm.load(path, env=gym.make(env) if isinstance(env, str) else env, device=device)


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint. It is renamed first, because a partly deleted one would be taken for complete."""
    unfinished = checkpoint.with_name(_UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    checkpoint.rename(unfinished)
    shutil.rmtree(unfinished)


def replay_buffer(model: OffPolicyAlgorithm) -> ReplayBuffer:
    """Return the replay buffer of a model.

    :raises TypeError: For another class of buffer, whose contents may not be arrays alone.
    """
    buffer = model.replay_buffer
    if not isinstance(buffer, ReplayBuffer) or type(buffer) not in (ReplayBuffer, NStepReplayBuffer):
        raise TypeError(f"`model` must have a ReplayBuffer or NStepReplayBuffer, got {type(buffer).__name__}")
    return buffer
