"""Which random actions reach the goals of the mazes at all? Uniform ones, and ones that are held for some steps.

Eight environments take 20,000 steps in total with each policy of `ardae_envs.collection`. The table has the number of
finished episodes, the share that reached a goal, and the number of different goals.
"""

from typing import Any

from ardae_envs.collection import Brownian, CollectionPolicy, Hold
from ardae_envs.mazes import MAZES
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure
from experiments.mazes import measures
from experiments.mazes.training import HELD_STEPS, make_envs

POLICIES = ("uniform", "held up to 10 steps", "held 10 to 100 steps", "Brownian")
BUDGETS = {"smoke": {"steps": 2_000}, "quick": {"steps": 20_000}}


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{maze} {policy} seed{seed}", "maze": maze, "policy": policy, "seed": seed} | BUDGETS[budget]
        for seed in range(n_seeds)
        for maze in MAZES
        for policy in POLICIES
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Play with one policy."""
    envs = make_envs(settings["maze"], "sparse")
    policy = _policy(settings["policy"], envs.action_space, settings["seed"])
    obs, state, starts, goals = envs.reset(), None, None, []
    for _ in range(settings["steps"] // envs.num_envs):
        actions, state = policy.predict(obs, state, starts)  # type: ignore[arg-type]
        obs, _, starts, infos = envs.step(actions)
        goals += [info["goal"] for info, done in zip(infos, starts, strict=True) if done]
    success = round(measures.success_rate(goals), 4)
    key = {name: settings[name] for name in ("maze", "policy", "seed", "steps")}
    measured = {"success": success, "reachable_goals": measures.reachable_goals(goals)}
    return [key | {"episodes": len(goals)} | measured]


def _policy(name: str, action_space: Any, seed: int) -> CollectionPolicy:
    if name == "Brownian":
        return Brownian(action_space, seed=seed)
    held = {"uniform": (1, 1), "held up to 10 steps": (1, 10), "held 10 to 100 steps": HELD_STEPS}[name]
    return Hold(action_space, *held, seed=seed)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("maze", "policy", "seed", "episodes", "success", "reachable_goals"),
    seeds={"smoke": 1, "quick": 1},
    key=("maze", "policy", "seed", "steps"),
)
