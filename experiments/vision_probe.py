"""What the vision model V sees of CarRacing's road: how well a small network reads the simulator's state from latents.

A scripted driver, which knows the state, drives tracks that neither V nor an agent has seen. From each representation
of its frames, a perceptron predicts the car's offset and heading, the bends 10, 15 and 20 tiles ahead, and the speed;
the table has R² on held-out tracks, which the perceptron is not fitted to. The representations are V's latent, the
latents of the last four decisions, and, as bounds on what training V's encoder can reach, the encoder on one or four
frames trained on the targets, from V's weights or from random ones. None of this trains an agent.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import nn

import ardae_envs  # noqa: F401 (registers the environment)
from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.common.checks import check_choice
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.world_models.controller_envs import ControllerView
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.stacked_control import StackedVision, stacks_space
from experiments.figure import Figure, needed
from experiments.scripted_driver import TARGETS, ScriptedDriver, road_view
from experiments.world_model import TINY, base_settings, finished_model

ENV, ACTION_REPEAT, N_FRAMES = "CarRacing-v3", 4, 4
REPRESENTATIONS = ("latent", "latents of 4", "encoder", "encoder of 4", "encoder of 4, random")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"tracks": 2, "held_out": 1, "decisions": 60, "steps": 4, "width": 4},
    "quick": {"tracks": 48, "held_out": 12, "decisions": 250, "steps": 2000, "width": 16},
}
_FIRST_SEED = 50_000
_BATCH = 128
KEY = ("representation", "width", "tracks", "steps")


class Drive:
    """Stacked frames (n, 64, 64, 3 n_frames) of a drive, the newest last in each stack, and the targets (n, 6)."""

    def __init__(self, seeds: Sequence[int], decisions: int) -> None:
        env = ControllerView(ActionRepeat(gym.make("ardae/CarRacingFast-v0"), ACTION_REPEAT))
        frames, targets = [], []
        for seed in seeds:
            driver = ScriptedDriver(seed)
            frame, _ = env.reset(seed=seed)
            stack = np.zeros((*frame.shape[:2], 3 * N_FRAMES), np.uint8)
            for _ in range(decisions):
                stack = np.concatenate([stack[..., 3:], frame], -1)
                frames.append(stack)
                targets.append(road_view(env.unwrapped).targets())
                frame, _, terminated, truncated, _ = env.step(driver.outputs(env.unwrapped))
                if terminated or truncated:
                    break
        self.frames: NDArray[np.uint8] = np.stack(frames)
        self.targets = th.from_numpy(np.stack(targets))


def runs(budget: str, n_seeds: int, *, representations: tuple[str, ...] = REPRESENTATIONS) -> list[dict[str, Any]]:
    for representation in representations:
        check_choice("representations", representation, REPRESENTATIONS)
    sizes = BUDGETS[budget]
    arguments = TINY if budget == "smoke" else (f"policy_kwargs.vision_width={sizes['width']}",)
    return [
        {"name": representation, "representation": representation, "needs": base_settings(ENV, 0, arguments)} | sizes
        for representation in representations
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Collect random driving, and train V on it."""
    finished_model(settings, run.folder)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Fit one representation's network, and return R² of each target on the held-out tracks."""
    th.set_num_threads(1)
    model = finished_model(settings["needs"], needed(run.folder, settings))
    first, n = _FIRST_SEED, settings["tracks"]
    training = Drive(range(first, first + n), settings["decisions"])
    held_out = Drive(range(first + n, first + n + settings["held_out"]), settings["decisions"])
    mean, std = training.targets.mean(0), training.targets.std(0)
    th.manual_seed(0)
    inputs, network = represent(settings["representation"], model.policy, settings["width"])
    x, y = inputs(training.frames), (training.targets - mean) / std
    optimizer = th.optim.Adam(network.parameters(), 1e-3)
    schedule = th.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["steps"])
    for step in range(settings["steps"]):
        rows = th.randint(len(x), (_BATCH,))
        loss = (network(x[rows]) - y[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        run.report(step + 1, settings["steps"])
    network.eval()
    with th.no_grad():
        predicted = th.cat([network(part) for part in inputs(held_out.frames).split(256)])
    wanted = (held_out.targets - mean) / std
    r2 = 1 - (predicted - wanted).square().mean(0) / wanted.var(0, unbiased=False)
    row = {name: settings[name] for name in KEY}
    return [row | {name: round(float(value), 3) for name, value in zip(TARGETS, r2, strict=True)}]


def represent(name: str, policy: WorldModelPolicy, width: int) -> tuple[Any, nn.Module]:
    """Return a function from stacked frames to a network's inputs, and the network."""
    n_frames = 1 if name in ("latent", "encoder") else N_FRAMES
    if name.startswith("latent"):
        n_in = n_frames * policy.vision.z_dim
        return lambda frames: _latents(policy, frames, n_frames), _head(n_in)
    extractor = StackedVision(stacks_space(n_frames), width)
    if not name.endswith("random"):
        extractor.start_from(policy.vision.encoder.state_dict())
    network = nn.Sequential(_Stacks(), extractor, _head(extractor.features_dim))
    return lambda frames: th.from_numpy(frames[..., -3 * n_frames :]), network


def _latents(policy: WorldModelPolicy, frames: NDArray[np.uint8], n_frames: int) -> th.Tensor:
    """Return the latents of the last frames of each stack, (n, n_frames z_dim)."""
    singles = th.from_numpy(frames).unflatten(-1, (N_FRAMES, 3))[..., -n_frames:, :].movedim(3, 1).flatten(0, 1)
    with th.no_grad():
        z = th.cat([policy.vision.encode(part)[0] for part in singles.split(256)])
    return z.unflatten(0, (-1, n_frames)).flatten(1)


class _Stacks(nn.Module):
    """Turns stacks of frames, (n, 64, 64, channels), uint8, into vectors."""

    def forward(self, frames: th.Tensor) -> th.Tensor:
        return frames.flatten(1).float()


def _head(n_in: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, len(TARGETS)))


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("representation", *TARGETS),
    seeds={"smoke": 0, "quick": 0},
    prepare=prepare,
    key=KEY,
)
