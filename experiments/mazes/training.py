"""Training in the mazes: the same environments, exploration and updates for all methods; sampled episodes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

import ardae_envs  # noqa: F401 (registers the environment, also in the worker processes)
from ardae_envs.collection import Hold
from ardae_envs.mazes import Maze
from ardae_envs.multi_goal_maze import MultiGoalMaze
from ardae_rl import SACARDAE
from ardae_rl.common.policies import SquashedPolicy
from experiments.common import make_model

ENV_ID = "ardae/MultiGoalMaze-v0"
N_ENVS = 8
UPDATES = 4  # gradient steps for every step of the eight environments
TRAINING_STEPS = {"simple": 100_000, "medium": 200_000, "hard": 300_000}  # of the published comparison
# Uncorrelated random actions do not leave the middle of the map
HELD_STEPS = (10, 100)
_EPISODES_AT_ONCE = 100
_ENTROPY_SAMPLES = 4096


@dataclass(frozen=True)
class Method:
    """An algorithm and what controls its randomness.

    :param label: Name in plots.
    :param algorithm: Name in the registry.
    :param temperature: The argument that controls the policy's randomness: "target_entropy", "action_noise", or the
        "beta" of a log-distance.
    """

    label: str
    algorithm: str
    temperature: str = "target_entropy"


METHODS = {
    "td3": Method("TD3", "td3", "action_noise"),
    "sac": Method("SAC", "sac"),
    "sac_nf": Method("SAC-NF", "sac_nf"),
    "sac_ardae": Method("SAC-AR-DAE", "sac_ardae"),
    "sac_ardae-distance": Method("log-distance", "sac_ardae", "beta"),
}
# Arguments of all methods; the others are the algorithms' own defaults
SHARED: dict[str, Any] = {
    "gamma": 0.99,
    "n_steps": 5,  # the reward comes at the goal, and its value has to reach the start
    "batch_size": 256,
    "buffer_size": 300_000,
    "learning_starts": 0,  # the buffer is filled beforehand
    "train_freq": 1,
    "gradient_steps": UPDATES,
    "policy_kwargs": {"net_arch": [256, 256]},
}


def make_envs(maze: str, reward: str, goals: Sequence[int] | None = None, max_steps: int | None = None) -> VecEnv:
    """Return eight environments for training."""
    arguments = {"maze": maze, "reward": reward, "goals": goals, "max_steps": max_steps}
    return make_vec_env(ENV_ID, N_ENVS, env_kwargs=arguments | {"disable_env_checker": True})


def new_model(method: Method, envs: VecEnv, temperature: float, seed: int, **arguments: Any) -> OffPolicyAlgorithm:
    """Return an untrained model.

    :param method: One of :data:`METHODS`.
    :param envs: Environments for training.
    :param temperature: Entropy target in nats; for TD3, standard deviation of the exploration noise; with a
        log-distance, its β.
    :param seed: Seed of networks and actions.
    :param arguments: Arguments that replace those of :data:`SHARED`.
    """
    given = SHARED | arguments
    if method.temperature == "action_noise":
        n_actions = envs.action_space.shape[0]  # type: ignore[index]
        given["action_noise"] = NormalActionNoise(np.zeros(n_actions), np.full(n_actions, temperature))
    elif method.temperature == "beta":
        distance = {"entropy": "distance", "entropy_kwargs": {"beta": temperature}}
        given["policy_kwargs"] = given["policy_kwargs"] | distance
    else:
        given["target_entropy"] = temperature
    return make_model(method.algorithm, envs, seed=seed, **given)


def fill_buffer(model: OffPolicyAlgorithm, n_steps: int, seed: int) -> None:
    """Add steps with randomly held actions to the replay buffer until the model has made ``n_steps`` steps or more."""
    envs, buffer = model.get_env(), model.replay_buffer
    assert envs is not None and buffer is not None
    policy, state, starts = Hold(envs.action_space, *HELD_STEPS, seed=seed), None, None
    model._last_obs = model._last_original_obs = envs.reset()  # type: ignore[assignment]
    while model.num_timesteps < n_steps:
        actions, state = policy.predict(model._last_obs, state, starts)  # type: ignore[arg-type]
        obs, rewards, starts, infos = envs.step(actions)
        scaled = model.policy.scale_action(actions)
        model._store_transition(buffer, scaled, obs, rewards, starts, infos)  # type: ignore[arg-type]
        model.num_timesteps += envs.num_envs


class BehaviorGoals(BaseCallback):
    """Collect the goals that training episodes reach, which are the first sign of a critic that loses goals.

    :param report: Called with the number of steps so far.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.goals: list[int] = []
        self._report = report

    def _on_step(self) -> bool:
        infos: Iterable[dict[str, Any]] = self.locals["infos"]
        self.goals += [info["goal"] for info, done in zip(infos, self.locals["dones"], strict=True) if done]
        self._report(self.num_timesteps)
        return True


@dataclass(frozen=True)
class Episodes:
    """Sampled episodes of one policy: the goal of each (-1 for none), its number of steps, its path (steps + 1, 2)."""

    goals: np.ndarray
    steps: np.ndarray
    paths: list[np.ndarray]


def play(
    model: OffPolicyAlgorithm,
    maze: str,
    n_episodes: int,
    seed: int,
    obstacles: bool = False,
    goals: Sequence[int] | None = None,
    max_steps: int | None = None,
) -> Episodes:
    """Play episodes with sampled actions, after seeding all random generators.

    A deterministic policy acts with its exploration noise, as in training.

    :param model: The agent.
    :param maze: Name of the map.
    :param n_episodes: Number of episodes.
    :param seed: Seed of the actions.
    :param obstacles: Whether the obstacles are closed.
    :param goals: The goals that count; None for all.
    :param max_steps: Maximum number of steps of an episode; None chooses the map's own.
    """
    model.set_random_seed(seed)
    n_envs = min(n_episodes, _EPISODES_AT_ONCE)
    envs = [MultiGoalMaze(maze, goals=goals, max_steps=max_steps) for _ in range(n_envs)]
    reached: list[int] = []
    paths: list[np.ndarray] = []
    for first in range(0, n_episodes, n_envs):
        some_goals, some_paths = _play(model, envs[: n_episodes - first], {"obstacles": obstacles})
        reached += some_goals
        paths += some_paths
    return Episodes(np.array(reached), np.array([len(path) - 1 for path in paths]), paths)


def _play(
    model: OffPolicyAlgorithm, envs: Sequence[MultiGoalMaze], options: dict[str, Any]
) -> tuple[list[int], list[np.ndarray]]:
    """Play one episode in each environment, and return goals and paths."""
    noise = _exploration_noise(model, len(envs))
    obs = [env.reset(options=options)[0] for env in envs]
    paths = [[first[:2]] for first in obs]
    reached = [-1] * len(envs)
    running = list(range(len(envs)))
    while running:
        actions, _ = model.predict(np.stack([obs[i] for i in running]), deterministic=False)
        if noise is not None:
            noisy = model.policy.scale_action(actions) + noise()[running]
            actions = model.policy.unscale_action(np.clip(noisy, -1, 1))
        still_running = []
        for i, action in zip(running, actions, strict=True):
            obs[i], _, terminated, truncated, info = envs[i].step(action)
            paths[i].append(obs[i][:2])
            reached[i] = info["goal"]
            if not (terminated or truncated):
                still_running.append(i)
        running = still_running
    return reached, [np.stack(path) for path in paths]


def _exploration_noise(model: OffPolicyAlgorithm, n_envs: int) -> VectorizedActionNoise | None:
    """Return the model's exploration noise, (n_envs, actions) at each call; None for a stochastic policy."""
    noise = model.action_noise
    if isinstance(noise, VectorizedActionNoise):  # for the training environments
        noise = noise.base_noise
    return None if noise is None else VectorizedActionNoise(noise, n_envs)


@th.no_grad()
def first_action_entropy(model: OffPolicyAlgorithm, maze: str) -> float:
    """Return the entropy of the action at the start, in nats; NaN for a policy without a density."""
    start = th.as_tensor(MultiGoalMaze(maze).reset()[0], device=model.device).unsqueeze(0)
    if isinstance(model, SACARDAE) and model.policy.distance is not None:
        return float("nan")
    if isinstance(model.policy, SquashedPolicy):
        n = math.isqrt(_ENTROPY_SAMPLES)  # a batch of n states: SACNF samples their actions one after the other
        return float(model.policy.entropy(start.expand(n, -1), n).mean())
    if isinstance(model, SAC):
        _, log_prob = model.actor.action_log_prob(start.expand(_ENTROPY_SAMPLES, -1))
        return -float(log_prob.mean())
    return float("nan")


def n_goals(maze: str) -> int:
    """Return the number of goals of a map."""
    return len(Maze.parse(maze).goals)
