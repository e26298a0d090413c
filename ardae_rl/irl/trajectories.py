"""Demonstrations: episodes as arrays, collected from models, kept in files, read from Minari."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Env, spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from ardae_rl.common.optional import require

Array = NDArray[Any]
Observations = Array | dict[str, Array]
MINARI = "minari:"  # what the name of a dataset begins with, where a file could be meant


@dataclass(frozen=True)
class Trajectory:
    """An episode: at observation t the action t was taken, which caused observation t + 1.

    :param observations: (T + 1, ...), or a dictionary of such, as the environment gives them
    :param actions: (T, ...), in the environment's range
    :param rewards: (T), if they are known
    :param terminated: whether the last observation is a terminal state, and not where a limit of time cut off
    :raises ValueError: for lengths that do not fit, and no step at all
    """

    observations: Observations
    actions: Array
    rewards: Array | None = None
    terminated: bool = False

    def __post_init__(self) -> None:
        n = len(self.actions)
        if n == 0:
            raise ValueError("actions: none; accepted are trajectories of at least one step")
        for name, value in _parts(self.observations).items():
            if len(value) != n + 1:
                raise ValueError(f"{name} of {len(value)} rows with {n} actions: accepted are {n + 1}")
        if self.rewards is not None and len(self.rewards) != n:
            raise ValueError(f"rewards of {len(self.rewards)} rows with {n} actions: accepted are {n}")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Of each step, whether it led to a terminal state, (T)."""
        ends = np.zeros(len(self), bool)
        ends[-1] = self.terminated
        return ends


def save_trajectories(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write them as .npz, arrays only.

    :raises ValueError: for none, or if some have rewards and some do not
    """
    if not trajectories:
        raise ValueError("trajectories: none; accepted are one or more")
    rewards = [trajectory.rewards for trajectory in trajectories if trajectory.rewards is not None]
    if len(rewards) not in (0, len(trajectories)):
        raise ValueError(f"trajectories: {len(rewards)} of {len(trajectories)} have rewards; accepted are all or none")
    arrays: dict[str, Any] = {
        "lengths": np.array([len(trajectory) for trajectory in trajectories]),
        "terminated": np.array([trajectory.terminated for trajectory in trajectories]),
        "actions": np.concatenate([trajectory.actions for trajectory in trajectories]),
    }
    for name in _parts(trajectories[0].observations):
        arrays[name] = np.concatenate([_parts(trajectory.observations)[name] for trajectory in trajectories])
    if rewards:
        arrays["rewards"] = np.concatenate(rewards)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def check_demonstrations(source: Path | str) -> None:
    """Check that there are trajectories at a source, without reading them.

    :param source: File of :func:`save_trajectories`, or ``minari:ID``.
    :raises ValueError: If there is no such file or dataset, or the file holds something else.
    :raises ImportError: For a dataset, if Minari is not installed.
    """
    if str(source).startswith(MINARI):
        _minari_dataset(str(source).removeprefix(MINARI))
        return
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"`demonstrations` must be an .npz file of trajectories or minari:ID, got no file {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:  # reads the names alone
            missing = {"lengths", "terminated", "actions"} - set(arrays)
    except ValueError as error:
        raise ValueError(f"`demonstrations` must be an .npz file of trajectories, got {path}: {error}") from error
    if missing:
        names = ", ".join(sorted(missing))
        raise ValueError(f"`demonstrations` must be an .npz file of trajectories, got {path} without {names}")


def load_trajectories(source: Path | str) -> list[Trajectory]:
    """What :func:`save_trajectories` wrote, or the dataset of Minari named ``minari:ID``.

    :raises ValueError: if there is no such file, or it holds something else
    :raises ImportError: without Minari, for a dataset of it
    """
    if str(source).startswith(MINARI):
        return minari_trajectories(str(source).removeprefix(MINARI))
    check_demonstrations(source)
    with np.load(source, allow_pickle=False) as arrays:
        data = dict(arrays)
    ends = np.cumsum(data["lengths"])
    trajectories = []
    for k, (end, n) in enumerate(zip(ends, data["lengths"], strict=True)):
        observations = {name: value[end - n + k : end + k + 1] for name, value in data.items() if _is_part(name)}
        trajectories.append(
            Trajectory(
                _whole(observations),
                data["actions"][end - n : end],
                data["rewards"][end - n : end] if "rewards" in data else None,
                bool(data["terminated"][k]),
            )
        )
    return trajectories


def minari_trajectories(dataset_id: str) -> list[Trajectory]:
    """The episodes of a local dataset of Minari.

    :raises ImportError: without Minari
    :raises ValueError: if there is no such dataset
    """
    return [
        Trajectory(episode.observations, episode.actions, episode.rewards, bool(episode.terminations[-1]))
        for episode in _minari_dataset(dataset_id).iterate_episodes()
    ]


def _minari_dataset(dataset_id: str) -> Any:
    require("minari", "irl")
    import minari

    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise ValueError(f"`demonstrations` must be a local dataset of Minari, got {dataset_id!r}: {error}") from error


def collect_demonstrations(
    model: BaseAlgorithm,
    env: Env[Any, Any] | VecEnv,
    n_episodes: int,
    deterministic: bool = False,
    seed: int | None = 0,
) -> list[Trajectory]:
    """Episodes of a trained model.

    Sampled actions are what maximum-entropy inverse reinforcement learning takes an expert's for.

    :param env: as the model was trained in; of several, each gives about as many episodes. A VecNormalize is asked for
        what the model sees, and observations are kept as they were
    :param seed: of the environment; None for none
    :raises ValueError: for fewer than one episode
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes!r}: accepted are numbers from 1 up")
    venv = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])
    normalise = venv.normalize_obs if isinstance(venv, VecNormalize) else None
    if isinstance(venv, VecNormalize):
        venv = venv.venv
    if seed is not None:
        venv.seed(seed)
    # Episodes are shared out before: taking those that end first would favour short ones
    wanted = [n_episodes // venv.num_envs + (k < n_episodes % venv.num_envs) for k in range(venv.num_envs)]
    found: list[list[Trajectory]] = [[] for _ in wanted]
    recorder = Recorder(venv.num_envs)
    observations: Any = venv.reset()
    state, starts = None, np.ones(venv.num_envs, bool)
    while any(len(have) < n for have, n in zip(found, wanted, strict=True)):
        seen = observations if normalise is None else normalise(observations)
        actions, state = model.predict(seen, state, starts, deterministic)
        following, rewards, dones, infos = venv.step(actions)
        for k, trajectory in recorder.add(observations, actions, following, rewards, dones, infos):
            found[k].append(trajectory)
        observations, starts = following, dones
    return [trajectory for have, n in zip(found, wanted, strict=True) for trajectory in have[:n]]


def with_absorbing_states(trajectory: Trajectory, horizon: int, action_space: spaces.Space[Any]) -> Trajectory:
    """As :class:`~ardae_envs.absorbing.AbsorbingState` would have had the episode.

    :param trajectory: with vectors as observations
    :param horizon: steps of every episode
    :param action_space: that actions after the end are drawn from: of the largest entropy, as nothing depends on them
    :raises ValueError: for other observations, and longer episodes
    """
    seen = trajectory.observations
    if isinstance(seen, dict) or seen.ndim != 2:
        raise ValueError("observations: accepted are vectors")
    n_missing = horizon - len(trajectory) if trajectory.terminated else 0
    if len(trajectory) > horizon:
        raise ValueError(f"horizon={horizon!r}: accepted are at least {len(trajectory)}, the steps of the trajectory")
    absorbing = np.zeros((n_missing + trajectory.terminated, seen.shape[1] + 1), seen.dtype)
    absorbing[:, -1] = 1
    inside = np.pad(seen[:-1] if trajectory.terminated else seen, ((0, 0), (0, 1)))
    more = [action_space.sample() for _ in range(n_missing)]
    actions = np.concatenate([trajectory.actions, np.stack(more)]) if more else trajectory.actions
    rewards = None if trajectory.rewards is None else np.append(trajectory.rewards, np.zeros(n_missing))
    return Trajectory(np.concatenate([inside, absorbing]), actions, rewards)


class Recorder:
    """Puts the steps of environments side by side together to episodes.

    :param n_envs: environments
    """

    def __init__(self, n_envs: int) -> None:
        self._steps: list[list[tuple[Any, Array, float]]] = [[] for _ in range(n_envs)]

    def add(
        self, observations: Any, actions: Array, following: Any, rewards: Array, dones: Array, infos: Sequence[Any]
    ) -> list[tuple[int, Trajectory]]:
        """A step of all; what has ended with it, by environment.

        :param following: as a VecEnv gives them: where an episode has ended, the next one's first
        """
        ended = []
        for k, steps in enumerate(self._steps):
            steps.append((_row(observations, k), np.array(actions[k]), float(rewards[k])))
            if dones[k]:
                seen = [step[0] for step in steps] + [infos[k]["terminal_observation"]]
                trajectory = Trajectory(
                    stacked(seen),
                    np.stack([step[1] for step in steps]),
                    np.array([step[2] for step in steps]),
                    not infos[k].get("TimeLimit.truncated", False),
                )
                ended.append((k, trajectory))
                self._steps[k] = []
        return ended


def stacked(observations: Sequence[Any]) -> Observations:
    """Single observations as rows."""
    if isinstance(observations[0], dict):
        return {name: np.stack([observation[name] for observation in observations]) for name in observations[0]}
    return np.stack(observations)


def joined(observations: Iterable[Observations]) -> Observations:
    """Rows of observations one after another."""
    parts = list(observations)
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)  # type: ignore[arg-type]


def rows(observations: Observations, which: Any) -> Observations:
    """Some of the rows."""
    if isinstance(observations, dict):
        return {name: value[which] for name, value in observations.items()}
    part: Array = observations[which]
    return part


def _row(observations: Any, k: int) -> Any:
    row = rows(observations, k)
    return {name: np.array(value) for name, value in row.items()} if isinstance(row, dict) else np.array(row)


def _parts(observations: Observations) -> dict[str, Array]:
    if not isinstance(observations, dict):
        return {"observations": observations}
    return {f"observations/{name}": value for name, value in observations.items()}


def _is_part(name: str) -> bool:
    return name.split("/")[0] == "observations"


def _whole(parts: dict[str, Array]) -> Observations:
    if "observations" in parts:
        return parts["observations"]
    return {name.removeprefix("observations/"): value for name, value in parts.items()}
