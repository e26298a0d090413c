"""Demonstrated episodes as arrays, and how to collect them with a trained model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Env, spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from ardae_envs.absorbing import AbsorbingState
from ardae_rl.common.checks import check_count

Array = NDArray[Any]
Observations = Array | dict[str, Array]


@dataclass(frozen=True)
class Trajectory:
    """One episode: action t was taken at observation t and led to observation t + 1.

    Lists and tensors become NumPy arrays.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.irl import Trajectory
    >>> episode = Trajectory(observations=np.zeros((4, 3)), actions=np.zeros((3, 1)), terminated=True)
    >>> len(episode), episode.terminations
    (3, array([False, False,  True]))

    :param observations: Observations as the environment returns them, shape (T + 1, ...), or a dictionary of such
        arrays.
    :param actions: Actions in the environment's range, shape (T, ...).
    :param rewards: Rewards, shape (T,); None if unknown.
    :param terminated: Whether the last observation is a terminal state; False if a time limit truncated the episode.
    :raises ValueError: For arrays whose lengths do not match, or an episode without steps.
    :raises TypeError: For values that are not arrays.
    """

    observations: Observations
    actions: Array
    rewards: Array | None = None
    terminated: bool = False

    def __post_init__(self) -> None:
        for name, value in {"actions": self.actions, **named_arrays(self.observations)}.items():
            if np.ndim(value) == 0:
                raise TypeError(f"`{name}` must be an array, got a {type(value).__name__}")
        n = len(self.actions)
        if n == 0:
            raise ValueError("`actions` must have at least one row, got 0")
        for name, value in named_arrays(self.observations).items():
            if len(value) != n + 1:
                raise ValueError(f"`{name}` must have {n + 1} rows for {n} actions, got {len(value)}")
        if self.rewards is not None and len(self.rewards) != n:
            raise ValueError(f"`rewards` must have {n} rows for {n} actions, got {len(self.rewards)}")
        arrays = {name: np.asarray(value) for name, value in named_arrays(self.observations).items()}
        object.__setattr__(self, "observations", from_named_arrays(arrays))
        object.__setattr__(self, "actions", np.asarray(self.actions))
        if self.rewards is not None:
            object.__setattr__(self, "rewards", np.asarray(self.rewards))

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def terminations(self) -> NDArray[np.bool_]:
        """Whether each step led to a terminal state, shape (T,)."""
        terminations = np.zeros(len(self), bool)
        terminations[-1] = self.terminated
        return terminations


def collect_demonstrations(
    model: BaseAlgorithm,
    env: Env[Any, Any] | VecEnv,
    n_episodes: int,
    deterministic: bool = False,
    seed: int | None = 0,
    on_episode: Callable[[int], None] | None = None,
) -> list[Trajectory]:
    """Return episodes in which a trained model acts.

    Actions are sampled by default, because maximum-entropy IRL assumes a stochastic expert.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl.irl import collect_demonstrations
    >>> model = SAC("MlpPolicy", "Pendulum-v1")
    >>> demos = collect_demonstrations(model, gym.make("Pendulum-v1"), n_episodes=2)
    >>> [len(trajectory) for trajectory in demos]
    [200, 200]

    :param model: Trained model.
    :param env: Environment with the spaces that the model was trained with. Several parallel environments contribute
        about the same number of episodes each. A VecNormalize normalizes the model's inputs; the returned observations
        are not normalized.
    :param n_episodes: Number of episodes.
    :param deterministic: Whether to take the policy's deterministic action.
    :param seed: Seed of the environment; None to leave it unseeded.
    :param on_episode: Called with the number of collected episodes when one ends, for a progress bar.
    :raises ValueError: For fewer than one episode, and for a VecNormalize within another wrapper.
    """
    check_count("n_episodes", n_episodes)
    venv = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])
    if unwrap_vec_normalize(venv) not in (venv, None):
        raise ValueError(f"`env` must have VecNormalize as its outermost wrapper, got it within {type(venv).__name__}")
    normalize = venv.normalize_obs if isinstance(venv, VecNormalize) else None
    if isinstance(venv, VecNormalize):
        venv = venv.venv
    if seed is not None:
        venv.seed(seed)
    # Fix the number of episodes per environment in advance: taking the first to end would favor short ones
    quotas = [n_episodes // venv.num_envs + (k < n_episodes % venv.num_envs) for k in range(venv.num_envs)]
    collected: list[list[Trajectory]] = [[] for _ in quotas]
    recorder = EpisodeRecorder(venv.num_envs)
    observations: Any = venv.reset()
    state, episode_starts = None, np.ones(venv.num_envs, bool)
    while sum(map(len, collected)) < n_episodes:
        inputs = observations if normalize is None else normalize(observations)
        actions, state = model.predict(inputs, state, episode_starts, deterministic)
        next_observations, rewards, dones, infos = venv.step(actions)
        for k, trajectory in recorder.add(observations, actions, rewards, dones, infos):
            if len(collected[k]) < quotas[k]:
                collected[k].append(trajectory)
                if on_episode is not None:
                    on_episode(sum(map(len, collected)))
        observations, episode_starts = next_observations, dones
    return [trajectory for episodes in collected for trajectory in episodes]


def with_absorbing_states(trajectory: Trajectory, action_space: spaces.Space[Any]) -> Trajectory:
    """Return the episode as :class:`~ardae_envs.absorbing.AbsorbingState` would have recorded it.

    :param trajectory: Episode with vector observations.
    :param action_space: Action space. The action in the absorbing state is drawn uniformly from it, because it has no
        effect and the expert is assumed to maximize entropy.
    :raises ValueError: If the observations are not vectors.
    """
    observations, actions, rewards = trajectory.observations, trajectory.actions, trajectory.rewards
    if isinstance(observations, dict) or observations.ndim != 2:
        got = "dictionaries" if isinstance(observations, dict) else f"observations of shape {observations.shape[1:]}"
        raise ValueError(f"`trajectory` must have vector observations, got {got}")
    augmented = np.pad(observations, ((0, 0), (0, 1)))
    if not trajectory.terminated:
        return Trajectory(augmented, actions, rewards)
    absorbing = np.zeros((2, augmented.shape[1]), augmented.dtype)
    absorbing[:, -1] = 1
    return Trajectory(
        np.concatenate([augmented[:-1], absorbing]),
        np.concatenate([actions, np.stack([action_space.sample()])]),
        None if rewards is None else np.append(rewards, 0.0),
    )


def has_absorbing_states(env: VecEnv) -> bool:
    """Return whether terminated episodes continue in an absorbing state, see ``ardae_envs.absorbing``.

    :raises ValueError: If a wrapper around AbsorbingState changes the observation space, so that the last entry of an
        observation need not mark that state.
    """
    if not all(env.env_is_wrapped(AbsorbingState)):
        return False
    (marked, *_) = env.get_attr("marked_space")
    if marked != env.observation_space:
        raise ValueError(
            "`env` must have AbsorbingState outside of all wrappers that change the observation space, got "
            f"{env.observation_space} around {marked}"
        )
    return True


def match_absorbing_states(
    trajectories: Sequence[Trajectory], observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> list[Trajectory]:
    """Return the trajectories with absorbing states; those that have them already are unchanged.

    :param observation_space: Observation space of the environment with absorbing states.
    :param action_space: Its action space.
    """
    n_entries = (observation_space.shape or (0,))[0]

    def matched(trajectory: Trajectory) -> Trajectory:
        if isinstance(trajectory.observations, dict) or trajectory.observations.shape[1:] != (n_entries - 1,):
            return trajectory
        return with_absorbing_states(trajectory, action_space)

    return [matched(trajectory) for trajectory in trajectories]


class EpisodeRecorder:
    """Assemble the steps of parallel environments into episodes.

    :param n_envs: Number of environments.
    """

    def __init__(self, n_envs: int) -> None:
        self._steps: list[list[tuple[Any, Array, float]]] = [[] for _ in range(n_envs)]

    def add(
        self, observations: Any, actions: Array, rewards: Array, dones: Array, infos: Sequence[Any]
    ) -> list[tuple[int, Trajectory]]:
        """Add one step of each environment; return the episodes that it ended, with their environments' indices.

        :param observations: Observations before the step.
        """
        ended = []
        for k, steps in enumerate(self._steps):
            steps.append((_copied_row(observations, k), np.array(actions[k]), float(rewards[k])))
            if dones[k]:
                trajectory = Trajectory(
                    stack_observations([step[0] for step in steps] + [infos[k]["terminal_observation"]]),
                    np.stack([step[1] for step in steps]),
                    np.array([step[2] for step in steps]),
                    not infos[k].get("TimeLimit.truncated", False),
                )
                ended.append((k, trajectory))
                self._steps[k] = []
        return ended


def stack_observations(observations: Sequence[Any]) -> Observations:
    """Return single observations stacked as rows of arrays."""
    if isinstance(observations[0], dict):
        return {name: np.stack([observation[name] for observation in observations]) for name in observations[0]}
    return np.stack(observations)


def select_rows(observations: Observations, index: Any) -> Observations:
    """Return the rows that an index or a slice selects."""
    if isinstance(observations, dict):
        return {name: value[index] for name, value in observations.items()}
    selected: Array = observations[index]
    return selected


def named_arrays(observations: Observations) -> dict[str, Array]:
    """Return observations as arrays by the names that they have in files."""
    if not isinstance(observations, dict):
        return {"observations": observations}
    return {f"observations/{name}": value for name, value in observations.items()}


def from_named_arrays(arrays: dict[str, Array]) -> Observations:
    """Invert :func:`named_arrays`; other entries of ``arrays`` are ignored."""
    if "observations" in arrays:
        return arrays["observations"]
    prefix = "observations/"
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _copied_row(observations: Any, k: int) -> Any:
    row = select_rows(observations, k)
    return {name: np.array(value) for name, value in row.items()} if isinstance(row, dict) else np.array(row)
