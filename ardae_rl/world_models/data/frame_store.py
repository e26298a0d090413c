"""Whole episodes of frames, actions and rewards on disk."""

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_rl.common.checks import check_positive
from ardae_rl.world_models.data.episode_files import EpisodeFiles, Field, Integers, settle_header

Array = NDArray[Any]
Frames = NDArray[np.uint8]


class Episode(NamedTuple):
    """T steps: action t was taken at frame t, and led to reward t and frame t + 1."""

    frames: Frames  # T + 1 x height x width x 3
    actions: Array  # T x act_dim, float32; T, int64 for discrete ones
    rewards: NDArray[np.float32]
    terminated: bool  # whether the last step led to a terminal state; if not, the episode was cut off there
    seed: int
    policy: str
    info: Mapping[str, Any]


class FrameStore:
    """A folder of episodes, which can be appended to, also after a process was killed while doing so.

    :param folder: made if missing
    :param frame_shape: (height, width, 3); None for what the folder has
    :param action_space: Box or Discrete; None for what the folder has
    :param preprocessing: what was done to the frames, in words; None for what the folder has
    :param max_gigabytes: the store is full once it holds as much; None for no bound
    :param shard_megabytes: size of the files that it is made of
    :raises ValueError: for a folder that was made with other arguments, or is damaged
    """

    def __init__(
        self,
        folder: str | Path,
        frame_shape: Sequence[int] | None = None,
        action_space: spaces.Space[Any] | None = None,
        preprocessing: str | None = None,
        *,
        max_gigabytes: float | None = None,
        shard_megabytes: float = 1000,
    ) -> None:
        check_positive("shard_megabytes", shard_megabytes)
        if max_gigabytes is not None:
            check_positive("max_gigabytes", max_gigabytes)
        if frame_shape is not None and (len(frame_shape) != 3 or frame_shape[-1] != 3 or min(frame_shape) < 1):
            raise ValueError(f"frame_shape={frame_shape!r}: accepted are (height, width, 3)")
        self.folder, self.max_gigabytes = Path(folder), max_gigabytes
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
        """Its arrays are views of the files.

        :raises ValueError: if there is no such episode
        """
        frames, actions, rewards = (self.files.array(name, episode) for name in ("frames", "actions", "rewards"))
        row = self.files.rows[episode]
        return Episode(frames, actions, rewards, row["terminated"], row["seed"], row["policy"], row["info"])

    def __iter__(self) -> Iterator[Episode]:
        return (self[number] for number in range(len(self)))

    @property
    def discrete(self) -> bool:
        """Whether actions are."""
        return "n" in self.actions

    @property
    def act_dim(self) -> int:
        """Numbers that make an action; of discrete ones, how many there are."""
        return int(self.actions["n"] if self.discrete else math.prod(self.actions["shape"]))

    @property
    def lengths(self) -> Integers:
        """Steps of each episode."""
        return self.files.lengths

    @property
    def n_steps(self) -> int:
        return self.files.n_steps

    @property
    def returns(self) -> NDArray[np.float64]:
        """Sum of the rewards of each episode."""
        return np.array([row["return"] for row in self.files.rows], np.float64)

    @property
    def n_gigabytes(self) -> float:
        return self.files.n_bytes / 1e9

    @property
    def full(self) -> bool:
        """Whether it holds ``max_gigabytes`` or (by a part of its last episode) more, and takes no further episode."""
        return self.max_gigabytes is not None and self.n_gigabytes >= self.max_gigabytes

    def append(self, episode: Episode) -> int:
        """Write an episode to the disk.

        :return: its number
        :raises ValueError: if the store is full, or for an episode that does not fit or holds NaN
        """
        if self.full:
            raise ValueError(f"max_gigabytes={self.max_gigabytes!r}: the store is full; accepted are larger bounds")
        with np.errstate(invalid="ignore"):  # what is not finite is refused below
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
        """Return a view of the first episodes, for reading; this store itself if it has no more."""
        if len(self) <= n_episodes:
            return self
        view = copy.copy(self)
        view.files = self.files.first(n_episodes)
        return view

    def split(self, validation_share: float, seed: int = 0) -> tuple[Integers, Integers]:
        """Numbers of the episodes for training, and of those for validation.

        Each episode's part follows from its number and the seed alone: what is appended changes no other's. The share
        is met on average; of few episodes, there may be none for validation.

        :raises ValueError: unless ``validation_share`` is from 0 to 1, 1 excluded
        """
        if not 0 <= validation_share < 1:
            raise ValueError(f"validation_share={validation_share!r}: accepted are numbers from 0 to 1, 1 excluded")
        validation = np.array([_uniform(seed, number) < validation_share for number in range(len(self))], bool)
        return np.flatnonzero(~validation), np.flatnonzero(validation)

    def sample_frames(
        self,
        rng: np.random.Generator,
        n: int,
        episodes: Integers | Sequence[int] | None = None,
        *,
        keep: Callable[[Integers], NDArray[np.bool_]] | None = None,
        last_frames: bool = True,
    ) -> Frames:
        """Frames drawn uniformly, with replacement, from all of some episodes, (n, height, width, 3).

        :param episodes: their numbers; by default all
        :param keep: which frames to draw from, given their numbers in their episode, 0 for that of ``reset``: for
            instance :func:`ardae_envs.frames.after_zoom`
        :param last_frames: whether to draw from those after the last action too
        :raises ValueError: if no frame is left
        """
        return self.files.gather("frames", *self.sample_steps(rng, n, episodes, keep=keep, last_frames=last_frames))

    def sample_steps(
        self,
        rng: np.random.Generator,
        n: int,
        episodes: Integers | Sequence[int] | None = None,
        *,
        keep: Callable[[Integers], NDArray[np.bool_]] | None = None,
        last_frames: bool = True,
    ) -> tuple[Integers, Integers]:
        """Of frames drawn as by :meth:`sample_frames`: the episodes, (n,), and the frames' numbers in them, (n,)."""
        if n < 1:
            raise ValueError(f"n={n!r}: accepted are numbers from 1 up")
        numbers = self.files.check(range(len(self)) if episodes is None else episodes)
        n_frames = self.lengths[numbers] + int(last_frames)
        steps = np.arange(n_frames.max())
        kept = steps if keep is None else steps[keep(steps)]
        ends = np.searchsorted(kept, n_frames).cumsum()  # of each episode, in a row of all kept frames
        if not ends[-1]:
            raise ValueError(f"episodes={episodes!r}, keep={keep!r}, last_frames={last_frames!r} leave no frame")
        drawn = rng.integers(ends[-1], size=n)
        which = np.searchsorted(ends, drawn, side="right")
        return numbers[which], kept[drawn - np.concatenate([[0], ends])[which]]


def describe_actions(action_space: spaces.Space[Any]) -> dict[str, Any]:
    """What a store keeps of the space.

    :raises ValueError: for others than Box and Discrete
    """
    if isinstance(action_space, spaces.Discrete):
        return {"n": int(action_space.n), "start": int(action_space.start)}
    if isinstance(action_space, spaces.Box):
        return {"shape": list(action_space.shape)}
    raise ValueError(f"action_space={action_space}: accepted are Box and Discrete")


def _uniform(seed: int, number: int) -> float:
    """In [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:6]) / 2**48
