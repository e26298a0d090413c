"""Imitation learning from the demonstrations of an agent trained here: normalized returns by method and seed.

The expert is SB3's SAC; its sampled actions are the demonstrations. The normalized return is 0 for uniformly random
actions and 1 for the expert, both by the environment's own reward, which the learners do not see: deterministic actions
in 20 episodes of the official environment, with seeds that neither expert nor learner has trained on. Next to the
table, imitation_<env>_curves.csv has the returns of five episodes after each tenth of the training, for the expert too.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import SAC

import ardae_envs  # noqa: F401, registers the environments with absorbing states
from ardae_rl import presets
from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.evaluation import evaluate
from ardae_rl.irl import collect_demonstrations, save_trajectories
from ardae_rl.registry import algorithm_class
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, merge_csv, read_csv, versions, write_csv
from experiments.figure import Figure, Result, needed

# The algorithm, its generator and arguments that differ from the defaults; or a preset of zoo_configs
METHODS: dict[str, dict[str, Any]] = {
    "airl": {"algorithm": "airl", "generator": "sac", "arguments": {}},
    "airl-sac_ardae": {"algorithm": "airl", "generator": "sac_ardae", "arguments": {}},
    "airl-sac_nf": {"algorithm": "airl", "generator": "sac_nf", "arguments": {}},
    "gail": {"algorithm": "gail", "generator": "sac", "arguments": {}},
    "gan_gcl": {"algorithm": "gan_gcl", "generator": "sac", "arguments": {}},
    "bc": {"algorithm": "bc", "arguments": {}},
    "sqil": {"algorithm": "sqil", "arguments": {}},
    "gail-regularized": {"algorithm": "gail", "preset": "regularized"},
    "gail-dac": {"algorithm": "gail", "preset": "dac"},
    "airl-regularized": {"algorithm": "airl", "preset": "regularized"},
    "airl-proximal": {"algorithm": "airl", "preset": "proximal"},
    "airl-regularized-sac_ardae": {"algorithm": "airl", "preset": "regularized", "generator": "sac_ardae"},
}
DEFAULT_METHODS = ("airl", "airl-sac_ardae", "airl-sac_nf", "gail", "gan_gcl")
# Where episodes terminate, presets learn in the environment with absorbing states
ABSORBING = {
    env_id: f"ardae/{env_id.replace('-v', 'Absorbing-v')}" for env_id in ("Hopper-v5", "Walker2d-v5", "Ant-v5")
}
# Settings of the expert and the generators; the defaults in other environments
GENERATOR_ARGUMENTS: dict[str, dict[str, Any]] = {
    **{f"{name}-v5": {"learning_starts": 10_000} for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant")},
    "Pendulum-v1": {"learning_rate": 1e-3},
}
# Environment steps of a learner
STEPS = {"Pendulum-v1": 20_000} | dict.fromkeys(("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"), 200_000)
EXPERT_STEPS = {"Pendulum-v1": 20_000, "HalfCheetah-v5": 150_000, "Hopper-v5": 300_000, "Walker2d-v5": 500_000}
EXPERT_STEPS["Ant-v5"] = 1_000_000
DEFAULT_STEPS = 20_000
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"n_parts": 2, "curve_episodes": 1, "episodes": 1, "random_episodes": 1},
    "quick": {"n_parts": 10, "curve_episodes": 5, "episodes": 20, "random_episodes": 50},
}
KEY = ("method", "seed", "steps", "n_demos")
_FIRST_SEED = 10_000


def runs(
    budget: str,
    n_seeds: int,
    *,
    env: str = "Pendulum-v1",
    methods: tuple[str, ...] = DEFAULT_METHODS,
    steps: int | None = None,
    expert_steps: int | None = None,
    n_demos: int = 10,
) -> list[dict[str, Any]]:
    for method in methods:
        check_choice("methods", method, METHODS)
        check_preset(method, env)
    steps = checked_steps("steps", steps, budget, STEPS.get(env, DEFAULT_STEPS))
    expert = expert_settings(budget, env, expert_steps, n_demos)
    name = expert["name"]
    return [
        {"name": f"{env} {method} {steps} {seed} {name}", "env": env, "method": method, "seed": seed, "steps": steps}
        | {"needs": expert}
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for method in methods
    ]


def checked_steps(name: str, steps: int | None, budget: str, default: int) -> int:
    """Return the number of training steps; None stands for the default, or for few in the budget "smoke".

    :raises ValueError: For a number below 1.
    """
    if steps is None:
        return 120 if budget == "smoke" else default
    check_count(name, steps)
    return steps


def expert_settings(budget: str, env: str, steps: int | None, n_demos: int) -> dict[str, Any]:
    """Return the settings of the run that trains the expert and collects its demonstrations.

    :param steps: Number of training steps; by default that of the budget and the environment.
    """
    steps = checked_steps("expert_steps", steps, budget, EXPERT_STEPS.get(env, DEFAULT_STEPS))
    check_count("n_demos", n_demos)
    expert = {"name": f"{env} expert {steps} {n_demos}", "env": env, "steps": steps, "n_demos": n_demos}
    return expert | BUDGETS[budget]


def train_expert(settings: dict[str, Any], run: Run) -> None:
    """Train the expert; leave its model, its demonstrations, and the two returns that define the normalized return."""
    env_id = settings["env"]
    model = SAC("MlpPolicy", env_id, seed=0, device="cpu", **GENERATOR_ARGUMENTS.get(env_id, {}))
    learn(model, settings, run)
    demos = collect_demonstrations(model, gym.make(env_id), settings["n_demos"], seed=1)
    save_trajectories(run.folder / "demos.npz", demos)
    expert = evaluate(model, env_id, settings["episodes"], _FIRST_SEED).mean_return
    demonstrated = float(np.mean([trajectory.rewards.sum() for trajectory in demos if trajectory.rewards is not None]))
    random = random_return(env_id, settings["random_episodes"])
    write_csv(run.folder / "returns.csv", [{"expert": expert, "demonstrated": demonstrated, "random": random}])


def learn(model: Any, settings: dict[str, Any], run: Run, env_id: str | None = None) -> None:
    """Train in ten parts, evaluate after each; leave the returns and the model.

    :param env_id: Environment of the evaluations, if it is not that of the settings.
    """
    curve, n_parts = [], settings["n_parts"]
    for k in range(n_parts):
        model.learn(settings["steps"] // n_parts, reset_num_timesteps=k == 0)
        result = evaluate(model, env_id or settings["env"], settings["curve_episodes"], _FIRST_SEED)
        curve.append({"step": model.num_timesteps, "return": round(result.mean_return, 4)} | versions())
        write_csv(run.folder / "curve.csv", curve)
        run.report(k + 1, n_parts, f"return {result.mean_return:.0f}")
    model.save(run.folder / "model")


def random_return(env_id: str, episodes: int) -> float:
    """Return the mean return of uniformly random actions."""
    env = gym.make(env_id)
    env.action_space.seed(0)
    returns = []
    for seed in range(episodes):
        env.reset(seed=_FIRST_SEED + seed)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def learner_env_id(method: str, env_id: str) -> str:
    """Return the id of the environment that a method learns in."""
    return ABSORBING.get(env_id, env_id) if "preset" in METHODS[method] else env_id


def check_preset(method: str, env_id: str) -> None:
    """Check that a method has settings for an environment.

    :raises ValueError: If it is a preset without settings for the environment.
    """
    form = METHODS[method]
    if "preset" in form:
        presets.constructor_arguments(form["algorithm"], learner_env_id(method, env_id), form["preset"])


def make_learner(method: str, env_id: str, demos: Path, steps: int, seed: int, assignments: Sequence[str] = ()) -> Any:
    """Return an untrained learner.

    :param demos: File of the demonstrations.
    :param steps: Number of environment steps to make room for.
    :param assignments: Arguments to change, as :func:`~ardae_rl.presets.overridden` takes them.
    """
    form = METHODS[method]
    own, env = GENERATOR_ARGUMENTS.get(env_id, {}), learner_env_id(method, env_id)
    if "preset" in form:
        arguments, _ = presets.constructor_arguments(form["algorithm"], env, form["preset"])
        arguments["generator"] = form.get("generator", arguments["generator"])
    else:
        arguments = {"policy": "MlpPolicy"} | form["arguments"]
        if form["algorithm"] == "sqil":
            arguments |= own | {"buffer_size": steps}
        elif "generator" in form:
            arguments |= {"generator": form["generator"], "generator_kwargs": own}
    if "generator" in arguments:
        arguments["generator_kwargs"] = arguments["generator_kwargs"] | {"buffer_size": steps}
    arguments = presets.overridden(arguments, assignments)
    cls: Any = algorithm_class(form["algorithm"])
    return cls(env=gym.make(env), demonstrations=demos, seed=seed, device="cpu", **arguments)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one learner on the expert's demonstrations, and evaluate it."""
    start = time.monotonic()
    env_id, expert = settings["env"], needed(run.folder, settings)
    learner_env = learner_env_id(settings["method"], env_id)
    model = make_learner(settings["method"], env_id, expert / "demos.npz", settings["steps"], settings["seed"])
    learn(model, settings, run, learner_env)
    result = evaluate(model, learner_env, settings["episodes"], _FIRST_SEED)
    returns = {name: float(value) for name, value in read_csv(expert / "returns.csv")[0].items()}
    normalized = (result.mean_return - returns["random"]) / (returns["expert"] - returns["random"])
    settled = {name: settings[name] for name in ("env", "method", "seed", "steps")}
    demos = {"n_demos": settings["needs"]["n_demos"], "expert_steps": settings["needs"]["steps"]}
    figures = {"return": result.mean_return, "normalized": normalized}
    anchors = {f"{name}_return": value for name, value in returns.items()}
    rounded = {name: round(value, 4) for name, value in (figures | anchors).items()}
    return [settled | demos | rounded | {"seconds": round(time.monotonic() - start)}]


def curve(settings: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return the learning curve that :func:`learn` saved for a learner, or for the expert, as rows of a table."""
    key = {
        "method": settings.get("method", "expert"),
        "seed": settings.get("seed", 0),
        "steps": settings["steps"],
        "n_demos": settings.get("needs", settings)["n_demos"],
    }
    return [key | row for row in read_csv(folder / "curve.csv")]


def draw(results: Sequence[Result], path: Path) -> None:
    """Add the learning curves to their table, and plot it: a line for each run, a color for each method."""
    from matplotlib.figure import Figure as Plot

    first = results[0]
    expert = needed(first.folder, first.settings)
    curves = curve(first.settings["needs"], expert)
    curves += [row for settings, folder, _ in results for row in curve(settings, folder)]
    table = path.with_name(f"{path.stem}_curves.csv")
    merge_csv(table, curves, (*KEY, "step"))
    rows, env_id = read_csv(table), first.settings["env"]
    figure = Plot(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    colors = {"expert": "black"} | {method: f"C{k}" for k, method in enumerate(METHODS)}
    lines: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in KEY), []).append((int(row["step"]), float(row["return"])))
    named = set()
    for (method, *_), points in sorted(lines.items()):
        label = None if method in named else method
        axes.plot(*zip(*points, strict=True), color=colors[method], label=label, linewidth=1.4, alpha=0.8)
        named.add(method)
    axes.set(xlabel="environment steps", ylabel="return (deterministic)", title=env_id)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("method", "seed", "return", "normalized", "seconds"),
    draw=draw,
    seeds={"smoke": 1, "quick": 5},
    prepare=train_expert,
    key=KEY,
    table_by="env",
)
