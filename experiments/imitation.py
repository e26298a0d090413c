"""AIRL, GAIL and GAN-GCL from the demonstrations of an agent trained here: normalised returns over seeds.

    python -m experiments.imitation --env Pendulum-v1 --steps 20000 --seeds 5 [--methods airl,gan_gcl] [--jobs 2]

The expert is SB3's SAC; its sampled actions are the demonstrations. The normalised return is 0 for uniformly random
actions and 1 for the expert, each by the environment's own reward, which learning does not see: deterministic actions,
20 episodes of the official environment with seeds that neither expert nor learner has trained on. Written to
results/imitation_<env>.csv, a row for each run, and imitation_<env>_curves.csv and .png, the returns of five episodes
after each tenth of a training, the expert's among them; an interrupted command goes on.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import SAC

from ardae_rl.evaluation import evaluate
from ardae_rl.irl import collect_demonstrations, save_trajectories
from ardae_rl.registry import algorithm_class
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import merge_csv, read_csv, versions, write_csv
from experiments.common import RESULTS, check_names, run_folder, table_of_runs

# The algorithm, its generator, and arguments that are not their defaults
METHODS: dict[str, dict[str, Any]] = {
    "airl": {"algorithm": "airl", "generator": "sac", "arguments": {}},
    "airl-sac_ardae": {"algorithm": "airl", "generator": "sac_ardae", "arguments": {}},
    "airl-sac_nf": {"algorithm": "airl", "generator": "sac_nf", "arguments": {}},
    "gail": {"algorithm": "gail", "generator": "sac", "arguments": {}},
    "gan_gcl": {"algorithm": "gan_gcl", "generator": "sac", "arguments": {}},
}
# Of the expert and of generators; what is not here learns with the defaults
GENERATOR_ARGUMENTS: dict[str, dict[str, Any]] = {
    "HalfCheetah-v5": {"learning_starts": 10_000},
    "Pendulum-v1": {"learning_rate": 1e-3},
}
KEY = ("method", "seed", "steps", "n_demos")  # what tells runs apart
folder = partial(run_folder, "imitation")
_FIRST_SEED, _EPISODES, _RANDOM_EPISODES = 10_000, 20, 50


def expert_settings(env: str, steps: int, n_demos: int) -> dict[str, Any]:
    return {"name": f"{env} expert", "env": env, "steps": steps, "n_demos": n_demos}


def train_expert(settings: dict[str, Any], run: Run) -> str:
    """Leaves the model, its demonstrations, and the two returns that others are measured by."""
    env_id = settings["env"]
    model = SAC("MlpPolicy", env_id, seed=0, device="cpu", **GENERATOR_ARGUMENTS.get(env_id, {}))
    learn(model, settings, run)
    demos = collect_demonstrations(model, gym.make(env_id), settings["n_demos"], seed=1)
    save_trajectories(run.folder / "demos.npz", demos)
    expert = evaluate(model, env_id, _EPISODES, _FIRST_SEED).mean_return
    demonstrated = float(np.mean([trajectory.rewards.sum() for trajectory in demos if trajectory.rewards is not None]))
    row = {"expert": expert, "demonstrated": demonstrated, "random": random_return(env_id)}
    write_csv(run.folder / "returns.csv", [row])
    return f"expert of {env_id}: {expert:.1f}, its demonstrations {demonstrated:.1f}, random {row['random']:.1f}"


def learn(model: Any, settings: dict[str, Any], run: Run) -> None:
    """In ten parts, with the return after each; leaves these, and the model."""
    curve = []
    for k in range(10):
        model.learn(settings["steps"] // 10, reset_num_timesteps=k == 0)
        result = evaluate(model, settings["env"], 5, _FIRST_SEED)
        curve.append({"step": model.num_timesteps, "return": round(result.mean_return, 4)} | versions())
        write_csv(run.folder / "curve.csv", curve)
        run.report(k + 1, 10, f"return {result.mean_return:.0f}")
    model.save(run.folder / "model")


def random_return(env_id: str) -> float:
    """Mean over episodes of uniform actions."""
    env = gym.make(env_id)
    env.action_space.seed(0)
    returns = []
    for seed in range(_RANDOM_EPISODES):
        env.reset(seed=_FIRST_SEED + seed)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def run(settings: dict[str, Any], run: Run) -> str:
    start = time.monotonic()
    env_id, expert = settings["env"], folder(settings["expert"])
    method = METHODS[settings["method"]]
    cls: Any = algorithm_class(method["algorithm"])
    model = cls(
        "MlpPolicy",
        env_id,
        expert / "demos.npz",
        method["generator"],
        GENERATOR_ARGUMENTS.get(env_id, {}) | {"buffer_size": settings["steps"]},
        seed=settings["seed"],
        device="cpu",
        **method["arguments"],
    )
    learn(model, settings, run)
    result = evaluate(model, env_id, _EPISODES, _FIRST_SEED)
    returns = {name: float(value) for name, value in read_csv(expert / "returns.csv")[0].items()}
    normalised = (result.mean_return - returns["random"]) / (returns["expert"] - returns["random"])
    settled = {name: settings[name] for name in ("env", "method", "seed", "steps")}
    demos = {"n_demos": settings["expert"]["n_demos"], "expert_steps": settings["expert"]["steps"]}
    figures = {"return": result.mean_return, "normalised": normalised}
    anchors = {f"{name}_return": value for name, value in returns.items()}
    rounded = {name: round(value, 4) for name, value in (figures | anchors).items()}
    write_csv(
        run.folder / "row.csv", [settled | demos | rounded | {"seconds": round(time.monotonic() - start)} | versions()]
    )
    return f"{settings['name']}: return {result.mean_return:.1f}, normalised {normalised:.3f}"


def curves(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What :func:`learn` has left of a run, or of the expert, as rows of a table."""
    key = {
        "method": settings.get("method", "expert"),
        "seed": settings.get("seed", 0),
        "steps": settings["steps"],
        "n_demos": settings.get("expert", settings)["n_demos"],
    }
    return [key | row for row in read_csv(folder(settings) / "curve.csv")]


def picture(rows: Sequence[dict[str, str]], env_id: str, path: Path) -> None:
    """A line for each run, a colour for each method."""
    from matplotlib.figure import Figure as Plot

    figure = Plot(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = {"expert": "black"} | {method: f"C{k}" for k, method in enumerate(METHODS)}
    lines: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in KEY), []).append((int(row["step"]), float(row["return"])))
    named = set()
    for (method, *_), points in sorted(lines.items()):
        label = None if method in named else method
        axes.plot(*zip(*points, strict=True), color=colours[method], label=label, linewidth=1.4, alpha=0.8)
        named.add(method)
    axes.set(xlabel="environment steps", ylabel="return (deterministic)", title=env_id)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--demos", type=int, default=10)
    parser.add_argument("--expert-steps", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    methods = check_names(parser, "--methods", options.methods, METHODS)
    expert = expert_settings(options.env, options.expert_steps, options.demos)
    if not run_missing(train_expert, folder, [expert], processes(1)):
        raise SystemExit("the expert's training failed")
    runs: list[dict[str, Any]] = [
        {
            "name": f"{options.env} {method} {seed}",
            "env": options.env,
            "method": method,
            "seed": seed,
            "steps": options.steps,
            "expert": expert,
        }
        for seed in range(options.seeds)
        for method in methods
    ]
    table = options.out / f"imitation_{options.env}.csv"
    shown = ("method", "seed", "return", "normalised", "seconds")
    done = table_of_runs(run, folder, runs, options.jobs, table, KEY, shown)
    of_runs = table.with_name(f"{table.stem}_curves.csv")
    merge_csv(of_runs, [row for settings in [expert, *done] for row in curves(settings)], (*KEY, "step"))
    picture(read_csv(of_runs), options.env, table.with_suffix(".png"))


if __name__ == "__main__":
    main()
