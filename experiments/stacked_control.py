"""PPO through the encoder: V's convolutions on four frames, trained further, as the controller of World Models.

The encoder starts from a V that is trained first, on random driving; with ``vision=random``, from random weights.
Training uses the fast renderer, without privileged information: half of the environments start anywhere on the track,
episodes terminate after 25 decisions without a reward, and a finished lap has a bonus. Every 100,000 decisions, the
policy and a running average of its weights drive the same 64 tracks. The best five of all these drive 200 others, and
the best of them drives 100 tracks of the unmodified CarRacing-v3, three times. No track belongs to two of these sets,
nor to the training's. An interrupted training continues from its last checkpoint, in new episodes.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from ardae_envs.patience import Patience
from ardae_rl.common.beta import BetaPolicy
from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.evaluation import evaluate
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, read_csv, write_csv
from ardae_rl.world_models.environments import make_repeating
from ardae_rl.world_models.evolution import Evaluator, ProcessEvaluator, RolloutEvaluator
from ardae_rl.world_models.stacked_control import ControllerView, StackedPolicy, StackedVision
from experiments.figure import Figure, needed
from experiments.world_model import TINY, base_settings
from experiments.world_model import make_model as make_world_model

ENV = "CarRacing-v3"
TRAINING_ENVS = ("ardae/CarRacingFast-v0", "ardae/CarRacingRandomStart-v0")
VISIONS = ("pretrained", "random")
ACTION_REPEAT, N_FRAMES, PATIENCE = 4, 4, 25
LAP_BONUS = 50.0
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"decisions": 64, "n_envs": 2, "n_steps": 16, "every": 32, "tracks": 2, "tested": 2, "episodes": 1}
    | {"evaluation_seeds": 1, "width": 4},
    "quick": {"decisions": 1_500_000, "n_envs": 16, "n_steps": 256, "every": 100_000, "tracks": 64, "tested": 200}
    | {"episodes": 100, "evaluation_seeds": 3, "width": 16},
    "full": {"decisions": 5_000_000, "n_envs": 16, "n_steps": 256, "every": 100_000, "tracks": 64, "tested": 200}
    | {"episodes": 100, "evaluation_seeds": 3, "width": 16},
}
# First seeds of the tracks that select, test and evaluate; those of the training lie below
SELECTED, TESTED, EVALUATED = 20_000, 30_000, 10_000
_N_CANDIDATES = 5
_GAMMA, _AVERAGING, _WORKERS = 0.99, 0.1, 2
KEY = ("env", "vision", "seed", "decisions", "first_track")


def runs(
    budget: str, n_seeds: int, *, vision: str = "pretrained", decisions: int | None = None
) -> list[dict[str, Any]]:
    check_choice("vision", vision, VISIONS)
    sizes = BUDGETS[budget] | ({} if decisions is None else {"decisions": decisions})
    check_count("decisions", sizes["decisions"])
    arguments = TINY if budget == "smoke" else (f"policy_kwargs.vision_width={sizes['width']}",)
    return [
        {"name": f"{vision} {sizes['decisions']} seed{seed}", "env": ENV, "vision": vision, "seed": seed}
        | {"needs": base_settings(ENV, 0, arguments)}
        | sizes
        for seed in range(n_seeds)
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Collect random driving, and train V on it."""
    model = make_world_model(settings, run.folder)
    model.collect()
    model.train_vision()
    th.save(model.policy.vision.encoder.state_dict(), run.folder / "encoder.pt")


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one agent, select among its policies, and evaluate the best on the official environment."""
    encoder = needed(run.folder, settings) / "encoder.pt" if settings["vision"] == "pretrained" else None
    candidates = train(settings, encoder, run)
    best = test(candidates, settings, run)
    policy = StackedPolicy.load(run.folder / best["file"], device="cpu")
    rows: list[Row] = []
    tracks: list[Row] = []
    for k in range(settings["evaluation_seeds"]):
        first = EVALUATED + 1000 * k
        result = evaluate(policy, ENV, settings["episodes"], first, n_envs=settings["n_envs"])
        low, high = result.interval
        figures = {"mean_return": result.mean_return, "std_return": result.std_return, "low": low, "high": high}
        figures |= {"share_above_900": float(np.mean(np.array(result.returns) > 900))}
        row = {name: settings[name] for name in KEY[:-1]} | {"first_track": first, "episodes": settings["episodes"]}
        row |= {"selected_after": best["decisions"], "weights": best["weights"], "on_200_tracks": best["tested"]}
        rows.append(row | {name: round(value, 3) for name, value in figures.items()})
        tracks += [{"first_track": first, **each} for each in result.rows()]
    write_csv(run.folder / "tracks.csv", tracks)
    return rows


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    shown = ("vision", "seed", "decisions", "first_track", "mean_return", "std_return", "low", "high")
    return [{name: row[name] for name in shown} for row in rows]


class LapBonus(gym.Wrapper[Any, Any, Any, Any]):
    """Add a reward when the lap is finished; for training only."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) + LAP_BONUS * bool(info.get("lap_finished")), terminated, truncated, info


def make_training_env(env_id: str) -> gym.Env[Any, Any]:
    env = LapBonus(Patience(make_repeating(env_id, ACTION_REPEAT), PATIENCE, terminate=True))
    return Monitor(ControllerView(env))


def make_vec_env(n_envs: int, seed: int) -> VecNormalize:
    makes: list[Callable[[], gym.Env[Any, Any]]] = [
        partial(make_training_env, TRAINING_ENVS[i % len(TRAINING_ENVS)]) for i in range(n_envs)
    ]
    venv = SubprocVecEnv(makes)
    venv.seed(seed)
    return VecNormalize(VecTransposeImage(VecFrameStack(venv, N_FRAMES)), norm_obs=False, gamma=_GAMMA)


def linear(first: float, last: float) -> Callable[[float], float]:
    """Return a schedule from ``first`` to ``last`` over the training."""
    return lambda remaining: last + (first - last) * remaining


def make_agent(settings: dict[str, Any], encoder: Path | None, venv: VecNormalize) -> PPO:
    policy_kwargs = {
        "features_extractor_class": StackedVision,
        "features_extractor_kwargs": {"width": settings["width"]},
        "net_arch": [256, 256],
    }
    agent = PPO(
        BetaPolicy,
        venv,
        n_steps=settings["n_steps"],
        batch_size=min(512, settings["n_steps"] * settings["n_envs"]),
        n_epochs=4,
        learning_rate=linear(3e-4, 0.0),
        clip_range=linear(0.2, 0.1),
        target_kl=0.02,
        gamma=_GAMMA,
        seed=settings["seed"],
        device="cpu",
        policy_kwargs=policy_kwargs,
    )
    if encoder is not None:
        extractor: Any = agent.policy.features_extractor
        extractor.start_from(th.load(encoder, weights_only=True))
    return agent


def cloned(policy: BasePolicy) -> BasePolicy:
    """Return a policy of its own with the same weights."""
    clone = type(policy)(**policy._get_constructor_parameters())
    clone.load_state_dict(policy.state_dict())
    return clone


def stacked_policy(policy: BasePolicy) -> StackedPolicy:
    """Return a policy of the environment's frames that holds each action."""
    spec = gym.make(ENV)
    return StackedPolicy(policy, spec.observation_space, spec.action_space, action_repeat=ACTION_REPEAT)


def make_evaluator(policy: StackedPolicy, n_envs: int, n_workers: int) -> Evaluator:
    make_env = partial(make_repeating, TRAINING_ENVS[0], ACTION_REPEAT)
    return ProcessEvaluator(partial(RolloutEvaluator, make_env, policy, n_envs // n_workers), n_workers)


class Selection(BaseCallback):
    """Evaluate the policy and a running average of its weights on fixed tracks, and keep the best; save checkpoints.

    :param folder: Folder for the table selection.csv, the candidates and the checkpoint.
    :param every: Number of decisions between evaluations.
    :param n_tracks: Number of tracks.
    :param n_envs: Number of environments that drive at once.
    """

    def __init__(self, folder: Path, every: int, n_tracks: int, n_envs: int, run: Run, total: int) -> None:
        super().__init__()
        self.folder, self.every, self.seeds, self.n_envs = folder, every, range(SELECTED, SELECTED + n_tracks), n_envs
        self.run, self.total = run, total
        path = folder / "selection.csv"
        self.rows: list[dict[str, Any]] = read_csv(path) if path.exists() else []

    def _init_callback(self) -> None:
        self.averaged = cloned(self.model.policy)
        path = self.folder / "checkpoint" / "averaged.pt"
        if path.exists():
            self.averaged.load_state_dict(th.load(path, weights_only=True))
        self.due = self.every * (1 + self.model.num_timesteps // self.every)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps:
            with th.no_grad():
                for slow, latest in zip(self.averaged.parameters(), self.model.policy.parameters(), strict=True):
                    slow.lerp_(latest, _AVERAGING)
        self.run.report(self.model.num_timesteps, self.total)
        if self.model.num_timesteps >= self.due:
            self.due += self.every
            self.evaluate()

    def _on_training_end(self) -> None:
        self.evaluate()

    def evaluate(self) -> None:
        """Drive the tracks, extend the table, and save a checkpoint."""
        decisions = self.model.num_timesteps
        for weights, policy in (("latest", self.model.policy), ("averaged", self.averaged)):
            stacked = stacked_policy(cloned(policy))
            with make_evaluator(stacked, self.n_envs, _WORKERS) as evaluator:
                returns = evaluator.evaluate(np.zeros((1, 0)), list(self.seeds)).returns[0]
            file = f"policy_{decisions}_{weights}.pt"
            stacked.save(str(self.folder / file))
            row = {"decisions": decisions, "weights": weights, "mean_return": round(float(returns.mean()), 2)}
            row |= {
                "minimum": round(float(returns.min()), 2),
                "share_above_900": round(float((returns > 900).mean()), 3),
            }
            self.rows.append(row | {"file": file})
        write_csv(self.folder / "selection.csv", self.rows)
        for worse in ranked(self.rows)[_N_CANDIDATES:]:
            (self.folder / worse["file"]).unlink(missing_ok=True)
        self._save()

    def _save(self) -> None:
        """Replace the checkpoint by a new one."""
        new, old = self.folder / "checkpoint_new", self.folder / "checkpoint"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        self.model.save(new / "model")
        venv = self.model.get_env()
        assert isinstance(venv, VecNormalize)
        venv.save(str(new / "rewards.pkl"))
        th.save(self.averaged.state_dict(), new / "averaged.pt")
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of selection.csv, best first."""
    return sorted(rows, key=lambda row: -float(row["mean_return"]))


def train(settings: dict[str, Any], encoder: Path | None, run: Run) -> list[dict[str, Any]]:
    """Train, or continue a training, and return the rows of the best policies."""
    venv = make_vec_env(settings["n_envs"], settings["seed"])
    checkpoint, total = run.folder / "checkpoint", settings["decisions"]
    try:
        if checkpoint.exists():
            venv = VecNormalize.load(str(checkpoint / "rewards.pkl"), venv.venv)
            agent = PPO.load(checkpoint / "model", env=venv, device="cpu")
        else:
            agent = make_agent(settings, encoder, venv)
        selection = Selection(run.folder, settings["every"], settings["tracks"], settings["n_envs"], run, total)
        if agent.num_timesteps < total:
            agent.learn(total - agent.num_timesteps, selection, reset_num_timesteps=False)
    finally:
        venv.close()
    return ranked(selection.rows)[:_N_CANDIDATES]


def test(candidates: Sequence[dict[str, Any]], settings: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return the row of the candidate that does best on the test's tracks, with its mean return there as "tested"."""
    seeds = range(TESTED, TESTED + settings["tested"])
    rows = []
    for candidate in candidates:
        policy = StackedPolicy.load(run.folder / candidate["file"], device="cpu")
        with make_evaluator(policy, settings["n_envs"], _WORKERS) as evaluator:
            returns = evaluator.evaluate(np.zeros((1, 0)), list(seeds)).returns[0]
        rows.append(candidate | {"tested": round(float(returns.mean()), 2)})
    write_csv(run.folder / "tested.csv", rows)
    return max(rows, key=lambda row: float(row["tested"]))


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=summary,
    draw=None,
    seeds={"smoke": 1, "quick": 1, "full": 2},
    prepare=prepare,
    key=KEY,
)
