"""Random input to the public API: it must give a finite result or a documented error, and nothing else."""

import random
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from ardae_rl import AIRL, BC, GAIL, SACARDAE, SACNF, EnergyBasedGAN
from ardae_rl.environments import EnvDescription
from ardae_rl.irl import Trajectory, load_trajectories, save_trajectories
from ardae_rl.runs.progress import progress_bar
from ardae_rl.score import ARDAE

DOCUMENTED = (ValueError, TypeError, AssertionError)  # the last one is SB3's
_CLEAR = re.compile(r"`[^`]+` must|training has diverged|unexpected keyword argument|^Invalid learning rate")
_BAD: Any = (None, "text", -1, 0, 1.5, float("nan"), [], {}, b"bytes", 10**12)


class RandomEnv(gym.Env[Any, Any]):
    """An environment with given spaces, whose observations are samples."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        return self.observation_space.sample(), 1.0, False, self._t == 5, {}


def random_space(rng: random.Random, depth: int = 1) -> spaces.Space[Any]:
    """Return a random space, of a supported kind or another."""
    shape = tuple(rng.randint(1, 3) for _ in range(rng.randint(0, 2)))
    kinds: list[Callable[[], spaces.Space[Any]]] = [
        lambda: spaces.Box(-rng.uniform(0.1, 9), rng.uniform(0.1, 9), shape, rng.choice([np.float32, np.float64])),
        lambda: spaces.Box(-rng.uniform(0.1, 9), rng.uniform(0.1, 9), (rng.randint(1, 3),)),
        lambda: spaces.Box(-1.0, 1.0, (1,)),
        lambda: spaces.Box(-np.inf, np.inf, shape),
        lambda: spaces.Box(0, 255, (36, 36, 3), np.uint8),
        lambda: spaces.Box(0, 4, shape, np.int64),
        lambda: spaces.Discrete(rng.randint(1, 4), start=rng.choice([0, 1])),
        lambda: spaces.MultiDiscrete([2, 3]),
        lambda: spaces.MultiBinary(2),
        lambda: spaces.Dict({key: random_space(rng, 0) for key in "ab"}) if depth else spaces.Discrete(2),
    ]
    return rng.choice(kinds)()


def spoiled(rng: random.Random, value: Any) -> Any:
    """Return a value unchanged, or with wrong numbers, a wrong type or a wrong shape."""
    if rng.random() < 0.8:
        return value
    array = np.asarray(value) if not isinstance(value, dict) else next(iter(value.values()))
    forms: list[Callable[[], Any]] = [
        lambda: array.astype(rng.choice([np.float16, np.float64, np.int32])),
        lambda: th.as_tensor(array),
        lambda: array * np.nan,
        lambda: array[None],
        lambda: array.reshape(-1)[:-1],
        lambda: {"a": array},
        lambda: rng.choice(_BAD),
    ]
    return rng.choice(forms)()


def demonstrations(rng: random.Random, env: RandomEnv) -> list[Trajectory]:
    """Return an episode of the environment, perhaps spoiled."""
    n = rng.randint(1, 4)
    observations = [env.observation_space.sample() for _ in range(n + 1)]
    if isinstance(observations[0], dict):
        stacked: Any = {key: np.stack([row[key] for row in observations]) for key in observations[0]}
    else:
        stacked = np.stack(observations)
    actions = np.stack([env.action_space.sample() for _ in range(n)])
    return [Trajectory(spoiled(rng, stacked), spoiled(rng, actions))]


def _random_env(rng: random.Random) -> tuple[RandomEnv, str]:
    env = RandomEnv(random_space(rng), random_space(rng, 0))
    for space in (env.observation_space, env.action_space):
        space.seed(rng.randint(0, 99))
    images = isinstance(env.observation_space, spaces.Box) and env.observation_space.shape == (36, 36, 3)
    fitting = (
        "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "CnnPolicy" if images else "MlpPolicy"
    )
    return env, rng.choice([fitting, fitting, fitting, "MlpPolicy"])


def _agent(rng: random.Random) -> Any:
    env, policy = _random_env(rng)
    algorithm: Any = rng.choice([SACARDAE, SACNF])
    arguments: dict[str, Any] = {"buffer_size": 50, "learning_starts": 5, "batch_size": 4, "device": "cpu"}
    if rng.random() < 0.3:
        arguments[rng.choice(["ent_coef", "learning_rate", "tau", "target_entropy", "batch_size"])] = rng.choice(_BAD)
    if algorithm is SACARDAE:
        arguments |= {"score_warmup": 2}
    model = algorithm(policy, env, policy_kwargs={"net_arch": [4]}, **arguments).learn(8)
    observation = spoiled(rng, env.observation_space.sample())
    action, _ = model.predict(observation)
    density = model.policy.log_prob(observation, spoiled(rng, env.action_space.sample()))
    return action, density, model.policy.entropy(observation, 2)


def _trainer(rng: random.Random) -> Any:
    env, policy = _random_env(rng)
    demos = demonstrations(rng, env)
    small: dict[str, Any] = {"device": "cpu", "policy_kwargs": {"net_arch": [4]}}
    if rng.random() < 0.4:
        model: Any = BC(policy, env, demos, batch_size=4, **small)
    else:
        off_policy = {"buffer_size": 50, "learning_starts": 5, "batch_size": 4}
        generator, kwargs = rng.choice([("sac", off_policy), ("ppo", {"n_steps": 8, "batch_size": 4})])
        method: Any = rng.choice([AIRL, GAIL])
        model = method(policy, env, demos, generator, kwargs, disc_interval=4, n_disc_updates=1, **small)
    model.learn(16)
    return model.predict(spoiled(rng, env.observation_space.sample()))[0]


def _estimator(rng: random.Random) -> Any:
    dim = rng.randint(1, 3)
    values = np.random.default_rng(rng.randint(0, 99)).normal(size=(6, dim))
    estimator = ARDAE(dim, network_kwargs={"hidden": [4]}) if rng.random() < 0.7 else ARDAE(rng.choice(_BAD))
    estimator.update(spoiled(rng, values))
    return estimator.score(spoiled(rng, values)), estimator.log_prob(values)


def _energy(rng: random.Random) -> Any:
    values = np.random.default_rng(rng.randint(0, 99)).normal(size=(20, 2))
    model = EnergyBasedGAN(2, sampler="implicit")
    model.fit(spoiled(rng, values), n_steps=1, batch_size=4)
    return model.log_prob(spoiled(rng, values))


def _file(rng: random.Random) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demos.npz"
        save_trajectories(path, [Trajectory(np.zeros((4, 2)), np.zeros((3, 1)))])
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(0, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))
        return load_trajectories(path)[0].actions


def _description(rng: random.Random) -> Any:
    env_id = rng.choice(["Pendulum-v1", "CartPole-v1", "no-such-v0", ":", "math:Pendulum-v1", "", "ardae/MultiGoal-v0"])
    kwargs = rng.choice([None, {}, {"g": 5.0}, {"colour": 1}, {"g": "text"}])
    env = EnvDescription.of_id(env_id, kwargs).make()
    return env.reset(seed=0)[0]


ENTRANCES: dict[str, Callable[[random.Random], Any]] = {
    "SACARDAE, SACNF": _agent,
    "AIRL, GAIL, BC": _trainer,
    "ARDAE": _estimator,
    "EnergyBasedGAN": _energy,
    "demonstration files": _file,
    "EnvDescription": _description,
}


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Make ``count`` random calls, to each part of the API in turn."""
    th.set_num_threads(1)
    rows: dict[str, dict[str, Any]] = {name: {"ok": 0, "documented": 0, "faults": []} for name in ENTRANCES}
    with progress_bar("calls", int(count), shown=True) as show:
        for call in range(int(count)):
            name = list(ENTRANCES)[call % len(ENTRANCES)]
            _count(rows[name], name, f"{seed} {call}")
            show(call + 1)
    return [
        {
            "entrance": name,
            "calls": row["ok"] + row["documented"] + len(row["faults"]),
            "seed": seed,
            "ok": row["ok"],
            "documented_errors": row["documented"],
            "wrong": len(row["faults"]),
            "note": "; ".join(dict.fromkeys(row["faults"])),
        }
        for name, row in rows.items()
    ]


def _count(row: dict[str, Any], name: str, key: str) -> None:
    th.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = ENTRANCES[name](random.Random(f"{name} {key}"))
    except Exception as error:
        if _is_documented(error):
            row["documented"] += 1
        else:
            row["faults"].append(f"{key}: {type(error).__name__}: {' '.join(str(error).split())[:80]}")
    else:
        if _is_finite(result):
            row["ok"] += 1
        else:
            row["faults"].append(f"{key}: not finite")


def _is_documented(error: Exception) -> bool:
    """Return whether an error names an argument in the package's form, or is a clear one from another package."""
    out_of_memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)  # depends on the machine
    if isinstance(error, gym.error.Error) or out_of_memory:
        return True
    if not isinstance(error, DOCUMENTED):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    raised_by_sb3 = bool(frames) and "stable_baselines3" in frames[-1].filename
    # A TypeError in SB3 comes from an operation on a wrong value that nothing has checked
    is_of_sb3 = raised_by_sb3 and isinstance(error, AssertionError | ValueError)
    return is_of_sb3 or _CLEAR.search(str(error)) is not None


def _is_finite(result: Any) -> bool:
    if isinstance(result, tuple | list):
        return all(map(_is_finite, result))
    if isinstance(result, dict):
        return all(map(_is_finite, result.values()))
    return bool(np.isfinite(np.asarray(result, dtype=float)).all())
