"""Play episodes in plain environments, stepped as a batch and reset explicitly, so that all transitions are real."""

import copy
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_envs.collection import Mixture, SupportsPredict
from ardae_rl.world_models.data.frame_store import Array, Episode, Frames

Env = gym.Env[Any, Any]
Preprocess = Callable[[Frames], Frames]
_STREAM = 0xAC7  # separates the policies' random numbers from the environments'


def play(
    envs: Sequence[Env],
    policy: SupportsPredict,
    seeds: Iterable[int],
    preprocess: Preprocess | None = None,
    *,
    on_step: Callable[[int], bool] | None = None,
) -> Generator[Episode, None, None]:
    """Yield one episode for each seed, in the order of the seeds.

    A policy with a random generator ``rng``, such as those of :mod:`ardae_envs.collection`, is copied for each episode
    and seeded with the episode's seed, so that an episode depends only on this seed. Other policies act for all
    environments at once.

    :param envs: Environments whose observations are frames (height, width, 3), uint8, which the policy receives
        unchanged.
    :param policy: SB3 model, or any object with its ``predict``.
    :param seeds: Seeds for ``reset``. More episodes may be started than are consumed from this generator.
    :param preprocess: Preprocessing of the recorded frames (n, height, width, 3), for all environments at once.
    :param on_step: Called after each step of the environments, with the number of those that took it. Playing stops
        when it returns False.
    :raises ValueError: For actions that are not finite, or observations that are not frames.
    """
    name = type(policy).__name__
    observations = np.zeros((len(envs), *frame_shape(envs[0])), np.uint8)
    player = (_PerEnvPlayer if _has_generator(policy) else _BatchedPlayer)(policy, len(envs))
    recordings: dict[int, _Recording] = {}  # by environment
    ended: dict[int, Episode] = {}  # by number
    pending, n_yielded, free, continues = enumerate(seeds), 0, list(range(len(envs))), True

    def record_frames(rows: list[int]) -> None:
        frames = observations[rows]
        for i, frame in zip(rows, frames if preprocess is None else preprocess(frames), strict=True):
            recordings[i].frames.append(frame)

    while continues:
        fresh = []
        for i, (number, seed) in zip(free, pending, strict=False):
            observations[i], info = envs[i].reset(seed=seed)
            player.begin(i, seed)
            recordings[i] = _Recording(number, seed, _scalars(info))
            fresh.append(i)
        if fresh:
            record_frames(fresh)
        if not recordings:
            return

        active = sorted(recordings)
        actions = player.act(observations, active)
        _check_finite(actions[active], name)
        for i in active:
            observations[i] = recordings[i].step(envs[i], actions[i])
        record_frames(active)
        continues = on_step is None or on_step(len(active))

        free = [i for i in active if recordings[i].over]
        for i in free:
            recording = recordings.pop(i)
            ended[recording.number] = recording.episode(name, envs[i])
        while n_yielded in ended:
            yield ended.pop(n_yielded)
            n_yielded += 1


def frame_shape(env: Env, preprocess: Preprocess | None = None) -> tuple[int, ...]:
    """Return the shape of an environment's frames after preprocessing, (height, width, 3).

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.world_models.data import frame_shape
    >>> frame_shape(gym.make("CarRacing-v3"))
    (96, 96, 3)

    :param env: Environment whose observations are frames.
    :param preprocess: Preprocessing of frames (n, height, width, 3).
    :raises ValueError: If the observations are not frames, or ``preprocess`` does not return frames.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3 or space.shape[-1] != 3:
        raise ValueError(f"`observation_space` must be a uint8 Box of shape (height, width, 3), got {space}")
    if preprocess is None:
        return space.shape
    frames = preprocess(np.zeros((2, *space.shape), np.uint8))
    if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != 2 or frames.shape[-1] != 3:
        raise ValueError(
            f"`preprocess` must return uint8 of shape (n, height, width, 3), got {frames.dtype} of {frames.shape}"
        )
    return frames.shape[1:]


class _Recording:
    """The episode that an environment is playing."""

    def __init__(self, number: int, seed: int, info: dict[str, Any]) -> None:
        self.number, self.seed, self.info = number, seed, info
        self.frames: list[Frames] = []
        self.actions: list[Array] = []
        self.rewards: list[float] = []
        self.terminated = self.over = False

    def step(self, env: Env, action: Any) -> Array:
        observation, reward, terminated, truncated, _ = env.step(action)
        self.actions.append(np.array(action))
        self.rewards.append(float(reward))
        self.terminated, self.over = bool(terminated), bool(terminated or truncated)
        frame: Array = observation
        return frame

    def episode(self, policy: str, env: Env) -> Episode:
        actions = np.stack(self.actions)
        actions = actions.astype(np.int64 if isinstance(env.action_space, spaces.Discrete) else np.float32)
        rewards = np.array(self.rewards, np.float32)
        return Episode(np.stack(self.frames), actions, rewards, self.terminated, self.seed, policy, self.info)


class _BatchedPlayer:
    """A policy that acts for all environments at once."""

    def __init__(self, policy: SupportsPredict, n: int) -> None:
        self.policy = policy
        self.state: Any = None
        self.starts = np.ones(n, bool)

    def begin(self, i: int, seed: int) -> None:
        self.starts[i] = True

    def act(self, observations: Frames, active: list[int]) -> Array:
        """Return actions (n, ...) for all environments; states have a fixed size, so inactive rows are included."""
        actions, self.state = self.policy.predict(observations, self.state, self.starts.copy())
        self.starts[:] = False
        return np.asarray(actions)


class _PerEnvPlayer:
    """Copies of a policy, one per environment, each with the random generator of its episode."""

    def __init__(self, policy: SupportsPredict, n: int) -> None:
        self.policy = policy
        self.policies, self.states = [policy] * n, [None] * n

    def begin(self, i: int, seed: int) -> None:
        self.policies[i] = _reseeded(self.policy, np.random.SeedSequence([seed, _STREAM]))
        self.states[i] = None

    def act(self, observations: Frames, active: list[int]) -> Array:
        """Return actions (n, ...), with zeros for inactive environments."""
        actions: dict[int, Array] = {}
        for i in active:
            start = np.array([self.states[i] is None])
            action, state = self.policies[i].predict(observations[i : i + 1], self.states[i], start)
            actions[i], self.states[i] = np.asarray(action), state
        zeros = np.zeros_like(actions[active[0]])
        return np.concatenate([actions.get(i, zeros) for i in range(len(observations))])


def _has_generator(policy: SupportsPredict) -> bool:
    return isinstance(getattr(policy, "rng", None), np.random.Generator)


def _reseeded(policy: Any, seeds: np.random.SeedSequence) -> Any:
    """Return a copy of a policy (and of a mixture's members) with new seeds; without a generator, the policy itself."""
    if not _has_generator(policy):
        return policy
    copied = copy.copy(policy)
    copied.rng = np.random.default_rng(seeds)
    if isinstance(copied, Mixture):
        parts = seeds.spawn(len(copied.policies))
        copied.policies = [_reseeded(member, seed) for member, seed in zip(copied.policies, parts, strict=True)]
    return copied


def _check_finite(actions: NDArray[Any], name: str) -> None:
    if not np.isfinite(actions).all():
        raise ValueError(f"`policy` must return finite actions, got {actions} from {name}")


def _scalars(info: dict[str, Any]) -> dict[str, Any]:
    """Return the finite scalars of an info dictionary, which JSON can store."""
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in info.items()}
    finite = {key: value for key, value in plain.items() if not isinstance(value, float) or math.isfinite(value)}
    return {key: value for key, value in finite.items() if isinstance(value, bool | int | float | str)}
