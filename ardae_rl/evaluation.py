"""Evaluation on the official, unmodified environment: returns, a bootstrap interval, and a JSON record."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import ArrayLike
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.utils import check_for_correct_spaces, set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from ardae_rl.registry import algorithm_class, environment_id
from ardae_rl.version import __version__


def _versions() -> dict[str, str]:
    """What the numbers depend on; MuJoCo and Box2D only when they are installed."""
    versions = {"python": platform.python_version(), "ardae-rl": __version__}
    for name in ("stable-baselines3", "gymnasium", "torch", "numpy", "mujoco", "box2d"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class Evaluation:
    """The outcome of `evaluate`: undiscounted, unnormalised returns and what they were measured with.

    ``std_return`` is the population standard deviation over episodes (as SB3 reports it); ``interval`` is the 95 %
    bootstrap interval of the mean. Episode k, from 0, has the seed ``seed`` + k.
    """

    env_id: str
    n_episodes: int
    mean_return: float
    std_return: float
    interval: tuple[float, float]
    returns: list[float]
    lengths: list[int]
    seed: int
    deterministic: bool
    normalized_observations: bool
    additional_wrappers: list[str]
    algo: str | None = None
    model: str | None = None
    versions: dict[str, str] = field(default_factory=_versions)

    def __str__(self) -> str:
        low, high = self.interval
        actions = "deterministic" if self.deterministic else "stochastic"
        return (
            f"{self.env_id}, {self.n_episodes} episodes, {actions} actions: mean return {self.mean_return:.2f}, "
            f"standard deviation {self.std_return:.2f}, 95 % bootstrap interval of the mean [{low:.2f}, {high:.2f}]"
        )

    def rows(self) -> list[dict[str, float]]:
        """Of the episodes: seed, return, length."""
        columns = zip(self.returns, self.lengths, strict=True)
        return [{"seed": self.seed + k, "return": r, "length": n} for k, (r, n) in enumerate(columns)]

    def write(self, path: str | Path) -> None:
        """Write every field as JSON, making the folder when needed."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    :raises ValueError: for an empty or non-finite sample, or a confidence outside (0, 1)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"values: got {values!r}; accepted: a non-empty sequence of finite numbers")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}; accepted: between 0 and 1, both excluded")
    rng = np.random.default_rng(seed)
    # One resample at a time: resamples x values would not fit in memory for long evaluations.
    means = [sample[rng.integers(sample.size, size=sample.size)].mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


class SeededEpisodes(Monitor[Any, Any]):
    """Records episodes, and gives each a seed of its own.

    :param seeds: of the first episodes
    """

    def __init__(self, env_id: str, seeds: Iterable[int]) -> None:
        super().__init__(gym.make(environment_id(env_id)))
        self._seeds = iter(seeds)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return super().reset(**{**kwargs, "seed": next(self._seeds, None)})


def official_env(
    env_id: str, seed: int = 0, allow_wrappers: bool = False, n_episodes: int = 1, n_envs: int = 1
) -> VecEnv:
    """``gymnasium.make(env_id)`` and nothing else, in the vector form that SB3 acts in.

    :param seed: of the first episode; each of ``n_episodes`` has the next
    :param n_envs: that ``evaluate_policy`` spreads them over, each in a process of its own if there are several
    :raises ValueError: for an unknown id, or for one registered with extra wrappers unless ``allow_wrappers``
    """
    env_id = environment_id(env_id)
    wrappers = additional_wrappers(env_id)
    if wrappers and not allow_wrappers:
        raise ValueError(
            f"--env: {env_id!r} is registered with additional wrappers ({', '.join(wrappers)}); accepted: an "
            "unmodified environment, or --allow-wrappers"
        )
    targets = [(n_episodes + i) // n_envs for i in range(n_envs)]  # as evaluate_policy has them
    firsts = [seed + sum(targets[:i]) for i in range(n_envs)]
    makes: list[Callable[[], gym.Env[Any, Any]]] = [
        partial(SeededEpisodes, env_id, range(first, first + n)) for first, n in zip(firsts, targets, strict=True)
    ]
    return DummyVecEnv(makes) if n_envs == 1 else SubprocVecEnv(makes)


def additional_wrappers(env_id: str) -> list[str]:
    """Names of the wrappers that an id's registration adds around the environment."""
    return [wrapper.name for wrapper in gym.spec(env_id).additional_wrappers]


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """The generators that SB3 seeds are seeded, and set back at the end."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with th.random.fork_rng(range(th.cuda.device_count())):
            set_random_seed(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def evaluate(
    model: BaseAlgorithm | BasePolicy,
    env_id: str,
    n_episodes: int = 20,
    seed: int = 0,
    deterministic: bool = True,
    vecnormalize: Path | None = None,
    allow_wrappers: bool = False,
    n_envs: int = 1,
) -> Evaluation:
    """Run ``model`` for ``n_episodes`` on fresh environments made by their id, episode k with the seed ``seed`` + k.

    The global random generators are as they were afterwards: a training that is evaluated in between is the same.

    :param n_envs: environments played at once, each in a process of its own
    :param vecnormalize: saved VecNormalize whose observation statistics the model was trained with
    :raises ValueError: for an unknown or wrapped environment, one with other spaces than the model's, or numbers
        below 1
    """
    for name, value in {"--episodes": n_episodes, "n_envs": n_envs}.items():
        if value < 1:
            raise ValueError(f"{name}: got {value}; accepted: 1 or more")
    env = official_env(env_id, seed, allow_wrappers, n_episodes, min(n_envs, n_episodes))
    try:
        if vecnormalize is not None:
            env = VecNormalize.load(str(vecnormalize), env)
            env.training = env.norm_reward = False
        if isinstance(model, BaseAlgorithm):
            env = model._wrap_env(env, verbose=0)  # channels first for image policies, as in training
        check_for_correct_spaces(env, model.observation_space, model.action_space)
        episodes: list[list[dict[str, float]]] = [[] for _ in range(env.num_envs)]

        def note(step: dict[str, Any], _: Any) -> None:
            if step["done"]:
                episodes[step["i"]].append(step["info"]["episode"])

        with _own_randomness(seed):
            evaluate_policy(model, env, n_episodes, deterministic, callback=note)
    finally:
        env.close()
    in_order = [episode for of_env in episodes for episode in of_env]
    returns = [float(episode["r"]) for episode in in_order]
    return Evaluation(
        env_id=env_id,
        n_episodes=n_episodes,
        mean_return=float(np.mean(returns)),
        std_return=float(np.std(returns)),
        interval=bootstrap_interval(returns),
        returns=returns,
        lengths=[int(episode["l"]) for episode in in_order],
        seed=seed,
        deterministic=deterministic,
        normalized_observations=vecnormalize is not None,
        additional_wrappers=additional_wrappers(environment_id(env_id)),
    )


def find_model(path: str | Path) -> tuple[Path, Path | None]:
    """The model file and, if the run has one, its VecNormalize file.

    :param path: a ``.zip``, or RL Zoo's run folder, of which the final model is taken
    :raises ValueError: when there is no such file, or the folder has no final model
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    # RL Zoo's layout: <run>/<env>.zip beside <run>/<env>/{config.yml, vecnormalize.pkl}
    names = [config.parent.name for config in folder.glob("*/config.yml")]
    name = names[0] if len(names) == 1 else None
    model = folder / f"{name}.zip" if path.is_dir() else path
    if not model.is_file():
        found = ", ".join(sorted(zip_file.name for zip_file in folder.glob("*.zip"))) or "no .zip"
        raise ValueError(
            f"--model: no model at {path} ({folder} has {found}); accepted: a .zip or an RL Zoo run folder"
        )
    statistics = folder / f"{name}/vecnormalize.pkl"
    return model, statistics if statistics.is_file() else None


def load_for_evaluation(algo: str, path: Path) -> BaseAlgorithm:
    """A trained model for acting: no replay memory, and none of its learning-rate schedules.

    :raises ValueError: when the file is no model, or one of another algorithm
    """
    # A pickled schedule of RL Zoo would import rl_zoo3, which replaces Gymnasium's TimeLimit.
    constants = {"learning_rate": 0.0, "lr_schedule": None, "clip_range": 0.1, "clip_range_vf": None}
    algorithm = algorithm_class(algo)
    data, _, _ = load_from_zip_file(path, device="cpu", custom_objects=constants)
    policy = (data or {})["policy_class"]
    if not issubclass(policy, tuple(algorithm.policy_aliases.values())):
        raise ValueError(f"--algo: got {algo!r}, but {path} has a {policy.__name__}; accepted: what it was trained by")
    return playback_class(algorithm).load(path, custom_objects=constants)


def playback_class(algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """``algorithm`` for acting only: its ``load`` allocates no replay memory. On-policy classes come back as is."""
    if not issubclass(algorithm, OffPolicyAlgorithm):
        return algorithm
    # The one-row buffer cannot use the memory-saving layout, whatever the model was trained with.
    load = partial(algorithm.load, buffer_size=1, optimize_memory_usage=False)
    return cast(type[BaseAlgorithm], type(algorithm.__name__, (algorithm,), {"load": staticmethod(load)}))
