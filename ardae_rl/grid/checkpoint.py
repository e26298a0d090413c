"""Checkpoints of a benchmark's run: model, replay buffer and tables. A checkpoint is either complete or missing."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from ardae_rl.runs.files import read_json, sync, write_json

_UNFINISHED = "unfinished_checkpoint"


def checkpoints(folder: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first."""
    return sorted(folder.glob("checkpoint_*"), key=lambda path: int(path.name.split("_")[1]))


def save(model: OffPolicyAlgorithm, tables: Any, folder: Path) -> None:
    """Save a checkpoint, then delete the earlier ones.

    :param model: The model, with its replay buffer.
    :param tables: Anything that JSON can hold.
    :param folder: Folder of the run.
    """
    earlier = checkpoints(folder)
    new = folder / _UNFINISHED
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    model.save(new / "model")
    _save_buffer(replay_buffer(model), new / "replay_buffer.npz")
    write_json(new / "tables.json", tables)
    for path in new.iterdir():
        sync(path)
    new.rename(folder / f"checkpoint_{model.num_timesteps}")
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
    """
    model = load_model(algorithm, env, checkpoint / "model", device)
    _load_buffer(replay_buffer(model), checkpoint / "replay_buffer.npz")
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


def _save_buffer(buffer: ReplayBuffer, path: Path) -> None:
    """Save the transitions collected so far. The buffer's arrays have room for many more, up to gigabytes."""
    arrays: dict[str, Any] = {name: array[: buffer.size()] for name, array in _arrays(buffer).items()}
    np.savez(path, **arrays, position=buffer.pos, full=buffer.full)


def _load_buffer(buffer: ReplayBuffer, path: Path) -> None:
    with np.load(path) as saved:
        buffer.pos, buffer.full = int(saved["position"]), bool(saved["full"])
        for name, array in _arrays(buffer).items():
            array[: buffer.size()] = saved[name]


def _arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    return {name: value for name, value in vars(buffer).items() if isinstance(value, np.ndarray)}
