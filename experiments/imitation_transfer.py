"""What a learned reward is worth: SAC trained on it from scratch, in the same and in a heavier environment.

A learner of the experiment "imitation" yields the reward network. A new SAC learns with this reward in the environment
with all masses multiplied by a factor, and is evaluated by the environment's own reward. With rewards of AIRL and
GAN-GCL, its temperature is 1, for which they are learned. For comparison, there are SAC with the true reward, and the
policies of the learner and of behavioral cloning without further training. Presets whose environment has an absorbing
state keep it in the heavier one.
"""

import time
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from ardae_rl.common.checks import check_choice
from ardae_rl.irl import RewardNet
from ardae_rl.irl.reward_wrapper import RewardVecEnvWrapper, VecStep
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, needed
from experiments.imitation import (
    BUDGETS,
    DEFAULT_STEPS,
    GENERATOR_ARGUMENTS,
    METHODS,
    STEPS,
    check_preset,
    checked_steps,
    expert_settings,
    learner_env_id,
    make_learner,
    train_expert,
)

SOURCES = ("learned reward", "true reward", "learner's policy", "behavioral cloning")
# Learners of a reward
REWARD_METHODS = tuple(name for name, form in METHODS.items() if form["algorithm"] in ("airl", "gan_gcl", "gail"))
KEY = ("source", "method", "env", "mass", "seed", "steps", "n_demos")


def runs(
    budget: str,
    n_seeds: int,
    *,
    env: str = "Pendulum-v1",
    method: str = "airl",
    masses: tuple[float, ...] = (1.0, 1.5),
    sources: tuple[str, ...] = SOURCES,
    steps: int | None = None,
    expert_steps: int | None = None,
    n_demos: int = 10,
) -> list[dict[str, Any]]:
    check_choice("method", method, REWARD_METHODS)
    check_preset(method, env)
    heavier(env, 1.0).close()  # refuses environments without masses
    for source in sources:
        check_choice("sources", source, SOURCES)
    steps = checked_steps("steps", steps, budget, STEPS.get(env, DEFAULT_STEPS))
    expert = expert_settings(budget, env, expert_steps, n_demos)
    name = f"{env} {method} {steps} {expert['name']}"
    return [
        {"name": f"{name} seed {seed} {source} mass {mass}", "env": env, "method": method, "seed": seed}
        | {"source": source, "mass": mass, "steps": steps, "needs": expert}
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for mass in masses
        for source in sources
    ]


def heavier(env_id: str, mass: float) -> gym.Env[Any, Any]:
    """Return an environment with all masses multiplied by a factor.

    :raises ValueError: For an environment that is neither Pendulum nor a MuJoCo one.
    """
    env = gym.make(env_id)
    unwrapped: Any = env.unwrapped
    if hasattr(unwrapped, "model"):  # MuJoCo
        unwrapped.model.body_mass[:] *= mass
        unwrapped.model.body_inertia[:] *= mass
    elif hasattr(unwrapped, "m"):
        unwrapped.m *= mass
    else:
        raise ValueError(f"`env` must be Pendulum-v1 or a MuJoCo environment, whose masses can change, got {env_id!r}")
    return env


def with_reward(env: gym.Env[Any, Any], reward_net: RewardNet) -> RewardVecEnvWrapper:
    """Return an environment whose reward is a network's."""

    def reward(step: VecStep) -> NDArray[np.float32]:
        return reward_net.predict(step.observations, step.actions, step.next_observations, step.terminated)

    return RewardVecEnvWrapper(DummyVecEnv([lambda: Monitor(env)]), reward)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train the agent of one row, and evaluate it in the environment with the row's mass."""
    start = time.monotonic()
    env_id, seed, steps = settings["env"], settings["seed"], settings["steps"]
    demos = needed(run.folder, settings) / "demos.npz"
    source, method = settings["source"], settings["method"]
    is_learner = source in ("learned reward", "learner's policy")
    # Networks of the learner know the absorbing state of its environment
    own_env_id = learner_env_id(method, env_id) if is_learner else env_id
    model: Any = None
    if source != "true reward":
        model = make_learner(method if is_learner else "bc", env_id, demos, steps, seed).learn(steps)
        model.save(run.folder / "learner")
    if source in ("learned reward", "true reward"):
        env: Any = heavier(own_env_id, settings["mass"])
        arguments = GENERATOR_ARGUMENTS.get(env_id, {}) | {"buffer_size": steps}
        if source == "learned reward":
            env = with_reward(env, model.reward_net)
            if model.discriminator.needs_density:
                arguments["ent_coef"] = 1.0  # the temperature for which such a reward is learned
        model = SAC("MlpPolicy", env, seed=seed, device="cpu", **arguments).learn(steps)
        model.save(run.folder / "model")
    test = Monitor(heavier(own_env_id, settings["mass"]))
    test.reset(seed=10_000)
    mean, _ = evaluate_policy(model, test, settings["episodes"])
    settled = {name: settings[name] for name in ("source", "method", "env", "mass", "seed", "steps")}
    figures = {"return": round(float(np.mean(mean)), 4), "seconds": round(time.monotonic() - start)}
    return [settled | {"n_demos": settings["needs"]["n_demos"]} | figures]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("source", "mass", "seed", "return", "seconds"),
    seeds={"smoke": 1, "quick": 3},
    prepare=train_expert,
    key=KEY,
)
