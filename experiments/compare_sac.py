"""Learning curves against Stable-Baselines3's SAC, on the unmodified environment.

    python -m experiments.compare_sac --env Pendulum-v1 --steps 8000 --seeds 3 --algos sac,sac_ardae --jobs 2

Each algorithm keeps its own defaults except for `SHARED`, which is equal for all. Every run has a folder under runs/
and is skipped if it is there with the same settings, so an interrupted comparison continues with the same command.
Evaluations act deterministically and start from the same states in each evaluation of each algorithm.
Written: results/compare_<env>.csv (one row per evaluation) and .png (mean and standard deviation over seeds).
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import ardae_envs  # noqa: F401 (registers our environments, also in the worker processes)
from ardae_rl import registry
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import merge_csv, read_csv, versions
from experiments import common

# Arguments that all algorithms share, by environment. Everything else is the algorithm's own default.
SHARED: dict[str, dict[str, Any]] = {
    "Pendulum-v1": {"learning_starts": 1_000, "batch_size": 256, "policy_kwargs": {"net_arch": [256, 256]}},
    "default": {"learning_starts": 5_000, "batch_size": 256, "policy_kwargs": {"net_arch": [256, 256]}},
}
FIRST_EVALUATION_SEED = 10_000  # far from the training seeds


class Evaluate(BaseCallback):
    """Evaluate every `every` steps; `rows` holds (step, mean, standard deviation, training seconds so far)."""

    def __init__(self, env_id: str, every: int, episodes: int, seed: int) -> None:
        super().__init__()
        self.env = make_vec_env(env_id)
        self.every, self.episodes, self.seed = every, episodes, FIRST_EVALUATION_SEED + seed
        self.rows: list[dict[str, Any]] = []
        self.start, self.evaluating = time.perf_counter(), 0.0

    def _on_training_start(self) -> None:
        self.start = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            begin = time.perf_counter()
            self.env.seed(self.seed)  # the same first states each time: less noise between points and algorithms
            returns, _ = evaluate_policy(self.model, self.env, self.episodes, return_episode_rewards=True)
            self.rows.append(
                {
                    "step": self.num_timesteps,
                    "mean_return": round(float(np.mean(returns)), 3),
                    "std_return": round(float(np.std(returns)), 3),
                    "wall_seconds": round(begin - self.start - self.evaluating, 2),  # training alone
                }
            )
            self.evaluating += time.perf_counter() - begin
        return True


def run_folder(settings: dict[str, Any]) -> Path:
    env = registry.folder_name(str(settings["env"]))
    return common.RUNS / "compare" / env / f"{settings['algo']}_seed{settings['seed']}"


def run(settings: dict[str, Any], run: Run) -> str:
    """One training: leaves model.zip and evaluations.csv in its folder."""
    algo, env_id, seed = settings["algo"], settings["env"], settings["seed"]
    evaluate = Evaluate(env_id, settings["eval_freq"], settings["eval_episodes"], seed)
    model = common.make_model(algo, env_id, seed=seed, **settings["arguments"])
    model.learn(settings["steps"], callback=evaluate)
    model.save(run.folder / "model")
    first = {"algo": algo, "env": env_id, "seed": seed}
    rows = [first | row | versions() for row in evaluate.rows]
    merge_csv(run.folder / "evaluations.csv", rows, key=("step",))
    last = rows[-1]
    return f"{algo} seed {seed}: return {last['mean_return']} after {last['wall_seconds']} s of training"


def plot(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Mean and standard deviation over seeds of the evaluations' mean return."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for algo in common.ALGORITHMS:
        returns: dict[int, list[float]] = {}
        for row in rows:
            if row["algo"] == algo:
                returns.setdefault(int(row["step"]), []).append(float(row["mean_return"]))
        if not returns:
            continue
        steps = sorted(returns)
        mean = np.array([np.mean(returns[step]) for step in steps])
        std = np.array([np.std(returns[step]) for step in steps])
        label = f"{common.LABELS[algo]}, {len(returns[steps[-1]])} seeds"
        axes.plot(steps, mean, color=common.COLOURS[algo], label=label, linewidth=2)
        axes.fill_between(steps, mean - std, mean + std, color=common.COLOURS[algo], alpha=0.18, linewidth=0)
    axes.set(xlabel="environment steps", ylabel="return (deterministic)", title=rows[0]["env"])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--algos", type=common.algorithm_names, default=list(common.ALGORITHMS))
    parser.add_argument("--eval-freq", type=int, default=1_000)
    parser.add_argument("--eval-episodes", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=common.RESULTS)
    options = parser.parse_args(argv)
    if options.steps % options.eval_freq:
        parser.error(f"--steps {options.steps}: accepted are multiples of --eval-freq {options.eval_freq}")

    try:
        registry.environment_id(options.env)
    except ValueError as error:
        parser.error(str(error))

    arguments = SHARED.get(options.env, SHARED["default"])
    runs = [
        {"algo": algo, "env": options.env, "seed": seed, "steps": options.steps, "eval_freq": options.eval_freq}
        | {"eval_episodes": options.eval_episodes, "arguments": arguments}
        for seed in range(options.seeds)
        for algo in options.algos
    ]
    done = run_missing(run, run_folder, runs, processes(options.jobs))

    # The run folders hold the truth: the shared files are rebuilt from them, also after an interruption.
    name = options.out / f"compare_{options.env.replace('/', '-')}"
    table, picture = name.with_name(f"{name.name}.csv"), name.with_name(f"{name.name}.png")
    for settings in done:
        merge_csv(table, read_csv(run_folder(settings) / "evaluations.csv"), ("algo", "env", "seed"))
    if done:
        plot(read_csv(table), picture)
        print(f"written: {table}, {picture}")
    if len(done) < len(runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
