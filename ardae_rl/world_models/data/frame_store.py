"""Whole episodes of frames, actions and rewards on disk."""

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_rl.common.checks import check_count, check_positive
from ardae_rl.world_models.data.episode_files import EpisodeFiles, Field, Integers, settle_header

Array = NDArray[Any]
Frames = NDArray[np.uint8]


class Episode(NamedTuple):
    """T steps: action t was taken at frame t, and led to reward t and frame t + 1.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.world_models.data import Episode
    >>> frames, actions = np.zeros((3, 64, 64, 3), np.uint8), np.zeros((2, 1), np.float32)
    >>> episode = Episode(frames, actions, np.ones(2, np.float32), True, seed=0, policy="Zero", info={})
    >>> float(episode.rewards.sum())
    2.0
    """

    frames: Frames  # (T + 1, height, width, 3)
    actions: Array  # (T, act_dim), float32; (T,), int64 for discrete actions
    rewards: NDArray[np.float32]  # (T,)
    terminated: bool  # whether the last step led to a terminal state; otherwise the episode was truncated there
    seed: int
    policy: str  # name of the policy that played
    info: Mapping[str, Any]  # returned by ``reset``


class FrameStore:
    """A folder of episodes, which can be appended to, even after a process was killed while appending.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_rl.world_models.data import Episode, FrameStore
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = FrameStore(folder.name, (64, 64, 3), spaces.Box(-1, 1, (1,)), preprocessing="none")
    >>> frames, actions = np.zeros((3, 64, 64, 3), np.uint8), np.zeros((2, 1), np.float32)
    >>> store.append(Episode(frames, actions, np.ones(2, np.float32), True, seed=0, policy="Zero", info={}))
    0
    >>> store.returns, store.sample_frames(np.random.default_rng(0), n=5).shape
    (array([2.]), (5, 64, 64, 3))

    :param folder: Folder of the episodes; created if missing.
    :param frame_shape: (height, width, 3); None to take it from an existing folder.
    :param action_space: Box or Discrete; None to take it from an existing folder.
    :param preprocessing: Description of the frames' preprocessing; None to take it from an existing folder.
    :param shard_megabytes: Approximate size of the files that make up the store.
    :raises ValueError: For a folder that was made with other arguments, or is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        frame_shape: Sequence[int] | None = None,
        action_space: spaces.Space[Any] | None = None,
        preprocessing: str | None = None,
        *,
        shard_megabytes: float = 1000,
    ) -> None:
        check_positive("shard_megabytes", shard_megabytes)
        if frame_shape is not None and (len(frame_shape) != 3 or frame_shape[-1] != 3 or min(frame_shape) < 1):
            raise ValueError(f"`frame_shape` must be (height, width, 3), got {frame_shape!r}")
        self.folder = Path(folder)
        asked = {
            "content": "frames",
            "frame_shape": frame_shape,
            "action_space": None if action_space is None else describe_actions(action_space),
            "preprocessing": preprocessing,
        }
        header = settle_header(self.folder, asked)
        self.frame_shape: tuple[int, ...] = tuple(header["frame_shape"])
        self.preprocessing: str = header["preprocessing"]
        self.actions: dict[str, Any] = header["action_space"]
        action = Field("int64", ()) if self.discrete else Field("float32", tuple(self.actions["shape"]))
        fields = {
            "frames": Field("uint8", self.frame_shape, extra=1),
            "actions": action,
            "rewards": Field("float32", ()),
        }
        self.files = EpisodeFiles(self.folder, fields, shard_megabytes * 1e6)

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.files)

    def __getitem__(self, episode: int) -> Episode:
        """Return an episode whose arrays are views of the files.

        :raises ValueError: If there is no such episode.
        """
        frames, actions, rewards = (self.files.array(name, episode) for name in ("frames", "actions", "rewards"))
        row = self.files.rows[episode]
        return Episode(frames, actions, rewards, row["terminated"], row["seed"], row["policy"], row["info"])

    def __iter__(self) -> Iterator[Episode]:
        return (self[number] for number in range(len(self)))

    @property
    def discrete(self) -> bool:
        """Whether actions are discrete."""
        return "n" in self.actions

    @property
    def act_dim(self) -> int:
        """Dimension of an action, or the number of actions if they are discrete."""
        return int(self.actions["n"] if self.discrete else math.prod(self.actions["shape"]))

    @property
    def lengths(self) -> Integers:
        """Number of steps of each episode."""
        return self.files.lengths

    @property
    def n_steps(self) -> int:
        """Number of steps of all episodes."""
        return self.files.n_steps

    @property
    def returns(self) -> NDArray[np.float64]:
        """Sum of the rewards of each episode."""
        return np.array([row["return"] for row in self.files.rows], np.float64)

    def append(self, episode: Episode) -> int:
        """Write an episode to the disk.

        :return: Number of the episode.
        :raises ValueError: If the episode has the wrong shapes or values that are not finite.
        """
        with np.errstate(invalid="ignore"):  # rewards that are not finite are refused below
            total = float(episode.rewards.sum(dtype=np.float64))
        row = {
            "length": len(episode.rewards),
            "terminated": bool(episode.terminated),
            "seed": int(episode.seed),
            "policy": episode.policy,
            "return": total,
            "info": dict(episode.info),
        }
        return self.files.append({name: getattr(episode, name) for name in self.files.fields}, row)

    def first(self, n_episodes: int) -> "FrameStore":
        """Return a read-only view of the first episodes, or the store itself if it has no more than these."""
        if len(self) <= n_episodes:
            return self
        view = copy.copy(self)
        view.files = self.files.first(n_episodes)
        return view

    def split(self, validation_share: float, seed: int = 0) -> tuple[Integers, Integers]:
        """Return the numbers of the episodes for training, and of those for validation.

        The assignment of an episode depends only on its number and the seed, so that appending episodes does not change
        that of others. The share is met only on average: with few episodes, the validation set can be empty.

        :raises ValueError: Unless 0 <= ``validation_share`` < 1.
        """
        if not 0 <= validation_share < 1:
            raise ValueError(f"`validation_share` must be >= 0 and < 1, got {validation_share!r}")
        validation = np.array([_uniform(seed, number) < validation_share for number in range(len(self))], bool)
        return np.flatnonzero(~validation), np.flatnonzero(validation)

    def sample_frames(
        self, rng: np.random.Generator, n: int, episodes: Integers | Sequence[int] | None = None
    ) -> Frames:
        """Sample frames (n, height, width, 3) uniformly with replacement, except the last frame of each episode.

        :param rng: Source of the randomness.
        :param n: Number of frames.
        :param episodes: Numbers of the episodes to sample from; by default all.
        :raises ValueError: For a number below 1, or if there is no such episode.
        """
        check_count("n", n)
        numbers = self.files.check(range(len(self)) if episodes is None else episodes)
        lengths = self.lengths[numbers]
        ends = lengths.cumsum()  # of each episode, when all are concatenated
        drawn = rng.integers(ends[-1], size=n)
        which = np.searchsorted(ends, drawn, side="right")
        return self.files.gather("frames", numbers[which], drawn - (ends - lengths)[which])


def describe_actions(action_space: spaces.Space[Any]) -> dict[str, Any]:
    """Return the description of an action space that a store records.

    :raises ValueError: For a space other than Box or Discrete.
    """
    if isinstance(action_space, spaces.Discrete):
        return {"n": int(action_space.n), "start": int(action_space.start)}
    if isinstance(action_space, spaces.Box):
        return {"shape": list(action_space.shape)}
    raise ValueError(f"`action_space` must be Box or Discrete, got {action_space}")


def _uniform(seed: int, number: int) -> float:
    """Return a pseudo-random number in [0, 1) for an episode."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:6]) / 2**48
