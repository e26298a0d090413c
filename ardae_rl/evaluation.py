"""Evaluation on the official, unmodified environment: returns, a bootstrap interval and a JSON record."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.envs.registration import EnvSpec
from numpy.typing import ArrayLike
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.utils import check_for_correct_spaces, set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from ardae_rl import presets
from ardae_rl.common.checks import check_count
from ardae_rl.common.records import plain
from ardae_rl.environments import spec_of_id
from ardae_rl.registry import ALGORITHMS, NAMED_IN_MODELS, STOCK_ALGORITHMS, algorithm_class, environment_id
from ardae_rl.runs.files import write_json
from ardae_rl.runs.versions import package_versions


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`: undiscounted, unnormalized returns, and how they were measured.

    Example:

    >>> from stable_baselines3 import SAC
    >>> from ardae_rl.evaluation import evaluate
    >>> model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=10)
    >>> result = evaluate(model, "Pendulum-v1", n_episodes=2, seed=7)
    >>> [row["seed"] for row in result.rows()], result.lengths
    ([7, 8], [200, 200])

    ``std_return`` is the population standard deviation over episodes (as SB3 reports it), ``interval`` the 95 %
    bootstrap interval of the mean. Episode k, counted from 0, has the seed ``seed`` + k.
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
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    algo: str | None = None
    model: str | None = None
    versions: dict[str, str] = field(default_factory=package_versions)

    def __str__(self) -> str:
        low, high = self.interval
        actions = "deterministic" if self.deterministic else "stochastic"
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.env_kwargs.items())
        env = f"{self.env_id} with {arguments}" if arguments else self.env_id
        return (
            f"{env}, {self.n_episodes} episodes, {actions} actions: mean return {self.mean_return:.2f}, "
            f"standard deviation {self.std_return:.2f}, 95 % bootstrap interval of the mean [{low:.2f}, {high:.2f}]"
        )

    def rows(self) -> list[dict[str, float]]:
        """Return one row per episode, with its seed, return and length."""
        columns = zip(self.returns, self.lengths, strict=True)
        return [{"seed": self.seed + k, "return": r, "length": n} for k, (r, n) in enumerate(columns)]

    def write(self, path: str | Path) -> None:
        """Write all fields as JSON. A missing folder is made."""
        write_json(Path(path), asdict(self))


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean.

    :param values: The sample, of shape (n,).
    :param confidence: Probability that the interval covers, between 0 and 1.
    :param n_resamples: Number of bootstrap samples.
    :param seed: Seed of the resampling.
    :raises ValueError: For an empty or non-finite sample, or a confidence outside (0, 1).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"`values` must be a non-empty sequence of finite numbers, got {values!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be above 0 and below 1, got {confidence!r}")
    rng = np.random.default_rng(seed)
    # One resample at a time: resamples x values would not fit in memory for long evaluations.
    means = [sample[rng.integers(sample.size, size=sample.size)].mean() for _ in range(n_resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


class SeededEpisodes(Monitor[Any, Any]):
    """Environment that records its episodes and seeds each of them separately.

    Example:

    >>> from ardae_rl.evaluation import SeededEpisodes
    >>> env = SeededEpisodes("Pendulum-v1", seeds=[3, 3])
    >>> bool((env.reset()[0] == env.reset()[0]).all())
    True

    :param env: Id or spec of the environment.
    :param seeds: Seeds of the first episodes. Later ones are not seeded.
    """

    def __init__(self, env: str | EnvSpec, seeds: Iterable[int]) -> None:
        super().__init__(gym.make(spec_of_id(env) if isinstance(env, str) else env))
        self._seeds = iter(seeds)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return super().reset(**{**kwargs, "seed": next(self._seeds, None)})


def official_env(
    env_id: str,
    seed: int = 0,
    allow_wrappers: bool = False,
    n_episodes: int = 1,
    n_envs: int = 1,
    env_kwargs: Mapping[str, Any] | None = None,
) -> VecEnv:
    """Return ``gymnasium.make(env_id, **env_kwargs)``, without wrappers that change it, as an SB3 vector environment.

    :param env_id: Id of the environment.
    :param seed: Seed of the first episode; the following ones have the next seeds.
    :param allow_wrappers: Whether to accept an id that is registered with additional wrappers.
    :param n_episodes: Number of seeded episodes.
    :param n_envs: Number of environments that ``evaluate_policy`` spreads the episodes over. Several environments
        run in processes of their own.
    :param env_kwargs: Arguments of the environment.
    :raises ValueError: For an unknown id, or one with additional wrappers unless ``allow_wrappers``.
    """
    spec = spec_of_id(env_id, env_kwargs)  # other processes lack the ids that a module or script has registered here
    wrappers = additional_wrappers(env_id)
    if wrappers and not allow_wrappers:
        raise ValueError(
            f"`env_id` must be registered without additional wrappers unless `allow_wrappers` is set, got {env_id!r}, "
            f"which has {', '.join(wrappers)}"
        )
    targets = [(n_episodes + i) // n_envs for i in range(n_envs)]  # as in evaluate_policy
    firsts = [seed + sum(targets[:i]) for i in range(n_envs)]
    makes: list[Callable[[], gym.Env[Any, Any]]] = [
        partial(SeededEpisodes, spec, range(first, first + n)) for first, n in zip(firsts, targets, strict=True)
    ]
    return SubprocVecEnv(makes) if n_envs > 1 else DummyVecEnv(makes)


def additional_wrappers(env_id: str) -> list[str]:
    """Return the names of the wrappers that the registration of an id adds to the environment."""
    return [wrapper.name for wrapper in gym.spec(environment_id(env_id)).additional_wrappers]


@contextmanager
def _separate_randomness(seed: int) -> Iterator[None]:
    """Seed the random generators that SB3 seeds, and restore their states at the end."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with th.random.fork_rng(range(th.cuda.device_count())):
            set_random_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def evaluate(
    model: BaseAlgorithm | BasePolicy,
    env_id: str,
    n_episodes: int = 20,
    seed: int = 0,
    deterministic: bool = True,
    vecnormalize: Path | None = None,
    allow_wrappers: bool = False,
    n_envs: int = 1,
    env_kwargs: Mapping[str, Any] | None = None,
    on_episode: Callable[[int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on fresh environments made from their id; episode k, from 0, has the seed ``seed`` + k.

    The states of the global random generators are restored, so that an evaluation does not influence training.

    :param model: The agent, or its policy.
    :param env_id: Id of the environment.
    :param n_episodes: Number of episodes.
    :param seed: Seed of the first episode, and of sampled actions.
    :param deterministic: Whether actions are deterministic rather than sampled.
    :param vecnormalize: File of a VecNormalize, whose observation statistics the model was trained with.
    :param allow_wrappers: Whether to accept an id that is registered with additional wrappers.
    :param n_envs: Number of environments played at once, in processes of their own if there are several.
    :param env_kwargs: Arguments of the environment; by default those that it is registered with.
    :param on_episode: Called at the end of each episode with the number so far, for a progress bar.
    :raises ValueError: For an unknown or wrapped environment, one whose spaces differ from the model's, or counts
        below 1.
    """
    check_count("n_episodes", n_episodes)
    check_count("n_envs", n_envs)
    env = official_env(env_id, seed, allow_wrappers, n_episodes, min(n_envs, n_episodes), env_kwargs)
    try:
        if vecnormalize is not None:
            env = VecNormalize.load(str(vecnormalize), env)
            env.training = env.norm_reward = False
        wrapping = model if isinstance(model, BaseAlgorithm) else BaseAlgorithm
        if wrapping is model or model.observation_space != env.observation_space:
            env = wrapping._wrap_env(env, verbose=0)  # channels first for policies of images, as in training
        check_for_correct_spaces(env, model.observation_space, model.action_space)
        episodes: list[list[dict[str, float]]] = [[] for _ in range(env.num_envs)]

        def note(step: dict[str, Any], _: Any) -> None:
            if step["done"]:
                episodes[step["i"]].append(step["info"]["episode"])
                if on_episode is not None:
                    on_episode(sum(map(len, episodes)))

        with _separate_randomness(seed):
            evaluate_policy(model, env, n_episodes, deterministic, callback=note)
    finally:
        with suppress(EOFError, OSError):  # from processes that Ctrl-C has ended; they would hide KeyboardInterrupt
            env.close()
    in_order = list(chain.from_iterable(episodes))
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
        additional_wrappers=additional_wrappers(env_id),
        env_kwargs=plain(env_kwargs or {}),
    )


def find_model(path: str | Path) -> tuple[Path, Path | None]:
    """Return the file of a model and, if the run has one, its VecNormalize file.

    :param path: A ``.zip`` file, or a run folder of RL Zoo, whose final model is taken.
    :raises ValueError: If there is no such file, or the folder has no final model.
    """
    path = Path(path)
    folder, name = _zoo_run(path)
    model = folder / f"{name}.zip" if path.is_dir() else path
    if not model.is_file():
        found = ", ".join(sorted(file.name for file in folder.glob("*.zip"))) or "no .zip"
        raise ValueError(f"`path` must be a .zip or a run folder of RL Zoo, got {path} ({folder} has {found})")
    statistics = folder / f"{name}/vecnormalize.pkl"
    return model, statistics if statistics.is_file() else None


def trained_env_kwargs(path: str | Path) -> dict[str, Any]:
    """Return the arguments of the environment that a run of RL Zoo trained in; empty for a model from elsewhere.

    :param path: See :func:`find_model`.
    """
    recorded = _zoo_record(Path(path)).get("env_kwargs")
    return recorded if isinstance(recorded, dict) else {}


def _zoo_record(path: Path) -> dict[str, Any]:
    """Return RL Zoo's record of a run: its command's arguments and, where they are None, its hyper-parameters."""
    folder, name = _zoo_run(path)
    if name is None or not (folder / name / "args.yml").exists():
        return {}
    hyperparameters, arguments = (
        presets.zoo_record((folder / name / file).read_text()) for file in ("config.yml", "args.yml")
    )
    return hyperparameters | {key: value for key, value in arguments.items() if value is not None}


def _zoo_run(path: Path) -> tuple[Path, str | None]:
    """Return the folder of a run, and the name of the folder in it that has RL Zoo's records, if there is one.

    RL Zoo's layout is <run>/<env>.zip beside <run>/<env>/{config.yml, args.yml, vecnormalize.pkl}.
    """
    folder = path if path.is_dir() else path.parent
    names = [config.parent.name for config in folder.glob("*/config.yml")]
    return folder, names[0] if len(names) == 1 else None


def load_for_evaluation(algo: str, path: Path) -> BaseAlgorithm:
    """Load a trained model for acting only: without replay memory and learning-rate schedules.

    :param algo: Name of the algorithm that trained the model.
    :param path: The ``.zip`` file.
    :raises ValueError: If the file is not a model, is damaged, or has the model of another algorithm.
    """
    # A pickled schedule of RL Zoo would import rl_zoo3, which replaces Gymnasium's TimeLimit.
    constants = {"learning_rate": 0.0, "lr_schedule": None, "clip_range": 0.1, "clip_range_vf": None}
    algorithm = algorithm_class(algo)
    recorded = _zoo_record(path).get("algo", algo)
    if recorded != algo:
        raise ValueError(f"`algo` must be {recorded!r}, which {path} was trained with, got {algo!r}")
    with _whole(path):
        data, weights, _ = load_from_zip_file(path, device="cpu", custom_objects=constants)
    policy = (data or {}).get("policy_class")
    if not (isinstance(policy, type) and issubclass(policy, BasePolicy)):
        raise ValueError(f"`path` must be a model saved by Stable-Baselines3, got {path}, which names no policy")
    problem = f"`algo` must be the algorithm that trained the model, got {algo!r}, but {path}"
    if not issubclass(policy, tuple(algorithm.policy_aliases.values())):
        raise ValueError(f"{problem} has a {policy.__name__}")
    better = _better_matches(algorithm, policy)
    if better:
        raise ValueError(f"{problem} has a {policy.__name__}: use {' or '.join(map(repr, better))}")
    _check_maker(algo, data or {}, problem)
    with _whole(path):
        try:
            return playback_class(algorithm).load(path, custom_objects=constants)
        except (AttributeError, KeyError) as error:  # the model lacks this algorithm's attributes or networks
            has_networks = any("optimizer" not in name for name in weights)
            if not has_networks or not {"observation_space", "action_space"} <= (data or {}).keys():
                raise
            raise _OtherAlgorithm(f"{problem} cannot be loaded as such: {type(error).__name__}: {error}") from error


def _check_maker(algo: str, data: dict[str, Any], problem: str) -> None:
    """Check that a model is of this algorithm and not of another one with the same policies.

    :param algo: Name of the algorithm.
    :param data: Attributes in the model's file.
    :param problem: First half of the error.
    :raises ValueError: If it is of another one.
    """
    maker = data.get("algorithm")
    if maker != algo and (maker is not None or algo in NAMED_IN_MODELS):
        raise ValueError(f"{problem} was trained with {'another one' if maker is None else repr(maker)}")
    if algo in STOCK_ALGORITHMS and (likely := _likely_maker(algo, data)) != algo:
        raise ValueError(f"{problem} has the arguments of {likely!r}")


def _likely_maker(algo: str, data: dict[str, Any]) -> str:
    """Return the algorithm, or an SB3 algorithm with the same policies if the model has more of its arguments.

    DDPG is TD3 with other settings, and their models cannot be told apart.
    """
    algorithm, policy = algorithm_class(algo), data["policy_class"]
    rivals = {algo: algorithm}
    for name in STOCK_ALGORITHMS:
        with suppress(ImportError):  # sb3-contrib is optional
            other = algorithm_class(name)
            if _nearest(other, policy) == _nearest(algorithm, policy) and not issubclass(algorithm, other):
                rivals[name] = other
    return max(rivals, key=lambda name: _n_saved(rivals[name], data))


def _n_saved(algorithm: type[BaseAlgorithm], data: dict[str, Any]) -> int:
    """Return the number of the algorithm's arguments that a model's file has."""
    return len(inspect.signature(algorithm).parameters.keys() & data.keys())


class _OtherAlgorithm(ValueError):
    """The model is intact, but belongs to another algorithm."""


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turn the errors of reading a damaged model (unpickling can raise any) into one that names the file."""
    try:
        yield
    except (ImportError, FileNotFoundError, _OtherAlgorithm):
        raise
    except Exception as error:
        reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        raise ValueError(f"`path` must be an intact model saved by Stable-Baselines3, got {path}: {reason}") from error


def _better_matches(algorithm: type[BaseAlgorithm], policy: type[BasePolicy]) -> list[str]:
    """Return the names of the algorithms whose policies are more closely related to ``policy``.

    Only imported modules are considered, because reading the policy has imported its algorithm. An algorithm that takes
    any policy has no better match.
    """
    own = _nearest(algorithm, policy)
    if policy.__mro__[own] is BasePolicy:
        return []
    imported_entries = {k: v for k, v in ALGORITHMS.items() if v.path.split(":")[0] in sys.modules}
    return [name for name, entry in imported_entries.items() if _nearest(entry.load(), policy) < own]


def _nearest(algorithm: type[BaseAlgorithm], policy: type[BasePolicy]) -> int:
    """Return the number of steps up from ``policy`` to the first class that is one of the algorithm's policies."""
    ancestors = policy.__mro__
    distances = (ancestors.index(alias) for alias in algorithm.policy_aliases.values() if alias in ancestors)
    return min(distances, default=len(ancestors))


def playback_class(algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """Return the algorithm's class for acting only: its ``load`` allocates no replay memory.

    On-policy algorithms, which have none, are returned unchanged.
    """
    if not issubclass(algorithm, OffPolicyAlgorithm):
        return algorithm
    # A buffer of one row cannot have the memory-saving layout that the model may have been trained with. Hindsight
    # experience replay would need the environment.
    load = partial(
        algorithm.load,
        buffer_size=1,
        optimize_memory_usage=False,
        replay_buffer_class=None,
        replay_buffer_kwargs={},
    )
    return cast(type[BaseAlgorithm], type(algorithm.__name__, (algorithm,), {"load": staticmethod(load)}))
