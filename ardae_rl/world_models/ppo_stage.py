"""The third stage of World Models, for controllers of stacked frames: PPO, which also trains their convolutions."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from ardae_rl.common.checks import check_between, check_bool, check_count, check_min, check_positive
from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import History, Run
from ardae_rl.world_models.evolution import Evaluator
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.seeds import PPO_TRAINING, SELECTION_SEEDS, TEST_SEEDS, first_training_seed
from ardae_rl.world_models.selection import Selection
from ardae_rl.world_models.stacked_control import StackedActor
from ardae_rl.world_models.stage import Stage

_FINAL_CLIP_RANGE = 0.5  # relative to the initial one


@dataclass(frozen=True)
class PPOStage(Stage):
    """Trains a controller of frames by PPO, with a learning rate that falls to 0, and selects the best weights.

    At intervals, the latest weights and a running average of the weights are evaluated on the same held-out episodes.
    At the end, the five best sets of weights are evaluated on further episodes, and the best set is kept.

    :param n_steps: Number of decisions in each environment between two updates.
    :param batch_size: Number of decisions in a batch.
    :param n_epochs: Number of passes over the decisions in an update.
    :param learning_rate: Initial learning rate.
    :param clip_range: Initial clip range; it falls to half of its value.
    :param target_kl: Target of the KL divergence from the policy before the update. As in SB3, an update ends early
        above 1.5 times this value.
    :param sharpening: Weight of a penalty on the policy's entropy at the end of the training; it rises linearly from
        0. Training samples actions, but evaluation takes the mode of each distribution. Without the penalty, the policy
        comes to rely on the spread of its samples, and its modes perform badly.
    :param gamma: Discount factor per decision.
    :param patience: An episode terminates after this many decisions without a positive reward; None for never.
    :param bonus: Reward that is added, in training only, to steps whose ``info[bonus_info]`` is true.
    :param bonus_info: Key of ``info``, such as CarRacing's "lap_finished".
    :param evaluate_every: Number of decisions between two evaluations on held-out seeds.
    :param n_held_out: Number of held-out seeds.
    :param n_tested: Number of seeds on which the best weights are compared at the end.
    :param averaging: Weight of the latest weights in each update of the running average.
    :param from_vision: Whether the convolutions are initialized with V's; otherwise they are random.
    :param bfloat16: Whether PPO computes the convolutions in bfloat16, which is faster on processors with hardware
        support for it; on others this is ignored, with a warning. Evaluations are in single precision.
    :raises ValueError: For a value outside of its range.
    :raises TypeError: For a value of a wrong type.
    """

    name: ClassVar[str] = "controller"
    argument: ClassVar[str] = "search_kwargs"

    n_steps: int = 128
    batch_size: int = 256
    n_epochs: int = 10
    learning_rate: float = 3e-4
    clip_range: float = 0.2
    target_kl: float = 0.1
    sharpening: float = 0.1
    gamma: float = 0.99
    patience: int | None = None
    bonus: float = 0.0
    bonus_info: str = "lap_finished"
    evaluate_every: int = 100_000
    n_held_out: int = 64
    n_tested: int = 200
    averaging: float = 0.1
    from_vision: bool = True
    bfloat16: bool = False

    def __post_init__(self) -> None:
        for field in ("n_steps", "batch_size", "n_epochs", "evaluate_every", "n_held_out", "n_tested"):
            check_count(self._named(field), getattr(self, field))
        for field in ("learning_rate", "clip_range", "target_kl"):
            check_positive(self._named(field), getattr(self, field))
        for field in ("gamma", "averaging"):
            check_between(self._named(field), getattr(self, field), 0, 1)
        check_between(self._named("n_held_out"), self.n_held_out, 1, len(SELECTION_SEEDS))
        check_between(self._named("n_tested"), self.n_tested, 1, len(TEST_SEEDS))
        check_count(self._named("batch_size"), self.batch_size, 2)  # PPO normalizes the advantages of a batch
        for field in ("bonus", "sharpening"):
            check_min(self._named(field), getattr(self, field), 0)
        for field in ("from_vision", "bfloat16"):
            check_bool(self._named(field), getattr(self, field))
        if self.patience is not None:
            check_count(self._named("patience"), self.patience)

    def __call__(
        self,
        policy: WorldModelPolicy,
        venv: VecNormalize,
        evaluator: Evaluator,
        run: Run,
        *,
        n_decisions: int,
        n_threads: int = 1,
        share_left: Callable[[], float] = lambda: 1.0,
        seed: int = 0,
        context: Mapping[str, Any] | None = None,
        callback: Callable[[dict[str, float]], bool] = lambda row: True,
    ) -> History:
        """Train the controller of ``policy``, or resume an interrupted training with new episodes.

        :param venv: Environments of :func:`~ardae_rl.world_models.controller_envs.make_training_venv`.
        :param evaluator: Plays the held-out episodes with copies of ``policy``.
        :param n_decisions: Number of decisions, rounded up to whole updates. It must not change when a training is
            resumed, because the learning rate falls to 0 at its end.
        :param n_threads: PyTorch uses at least this number of threads in PPO's updates, while the environments wait.
        :param share_left: Function that returns the remaining fraction of a time limit, at most 1. The learning rate
            falls with it if it falls faster than the remaining fraction of the decisions.
        :param context: Further settings that are recorded and compared, see :meth:`Stage.check_resumed`.
        :param callback: Called after each update with the numbers of decisions and the returns so far; the training
            ends when it returns False.
        :return: A row for each evaluation: ``n_steps``, ``training_return``, ``averaged`` (1 for the average of the
            weights, else 0), ``held_out_mean``, ``held_out_minimum``, ``held_out_error``, ``n_held_out_steps``.
        :raises ValueError: If the run was started with other settings.
        """
        # The learning rate schedule depends on both
        sizes = {"n_envs": venv.num_envs, "n_decisions": n_decisions}
        self.check_resumed(run, seed, {**(context or {}), **sizes})
        assert policy.stacked_policy is not None
        agent = self._agent(policy, venv, seed)
        averaged = deepcopy(agent.policy)
        selection = Selection(policy, evaluator, run.folder, self.n_held_out, self.n_tested)
        parts: dict[str, Stateful] = {"agent": _AgentState(agent, venv), "averaged": averaged, "selection": selection}
        per_update = self.n_steps * venv.num_envs
        n_updates, every = -(-n_decisions // per_update), max(1, self.evaluate_every // per_update)
        for update in run.steps(n_updates, parts, checkpoint=self.name, every=every):
            if update > 0 and agent._last_obs is None:  # resumed: do not repeat the first episodes
                agent.set_random_seed(first_training_seed(seed, PPO_TRAINING, update))
            self._improve(agent, min(1 - update / n_updates, share_left()), n_threads)
            _move(averaged, agent.policy, self.averaging)
            row = {"n_steps": float(agent.num_timesteps), "training_return": _mean_return(agent)}
            continues = callback({**row, **selection.best, "n_held_out_steps": selection.n_steps})
            if not continues or (update + 1) % every == 0 or update + 1 == n_updates:
                selection.add(agent.policy, {**row, "averaged": 0.0})
                selection.add(averaged, {**row, "averaged": 1.0})
            if not continues:
                break
        selection.finish()
        return selection.rows

    def _agent(self, policy: WorldModelPolicy, venv: VecNormalize, seed: int) -> PPO:
        """Return a PPO agent whose policy starts with the controller's weights."""
        assert policy.stacked_policy is not None
        agent = PPO(
            StackedActor,
            venv,
            n_steps=self.n_steps,
            batch_size=min(self.batch_size, self.n_steps * venv.num_envs),
            n_epochs=self.n_epochs,
            learning_rate=partial(_linear, self.learning_rate, 0.0),
            clip_range=partial(_linear, self.clip_range, _FINAL_CLIP_RANGE * self.clip_range),
            target_kl=self.target_kl,
            gamma=self.gamma,
            seed=first_training_seed(seed, PPO_TRAINING, 0),  # SB3 also passes it to the environments
            device=policy.device,
            policy_kwargs=policy.actor_arguments,
        )
        agent.policy.load_state_dict(policy.stacked_policy.actor.state_dict())
        extractor: Any = agent.policy.features_extractor
        extractor.in_bfloat16 = self.bfloat16 and _computes_bfloat16(policy.device)
        agent.set_logger(Logger(folder=None, output_formats=[]))
        return agent

    def _improve(self, agent: PPO, share_left: float, n_threads: int) -> None:
        """Collect a rollout and make an update, as PPO's ``learn`` does."""
        assert agent.env is not None
        _, callback = agent._setup_learn(0, None, reset_num_timesteps=False)
        agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, self.n_steps)
        agent._current_progress_remaining = share_left
        agent.ent_coef = -self.sharpening * (1 - share_left)
        with _at_least(n_threads):
            agent.train()


class _AgentState:
    """The state that PPO changes: weights, optimizer, the scale of the rewards, and the number of decisions."""

    def __init__(self, agent: PPO, venv: VecNormalize) -> None:
        self.agent, self.returns = agent, venv.ret_rms

    def state_dict(self) -> dict[str, Any]:
        scale = [float(self.returns.mean), float(self.returns.var), float(self.returns.count)]
        return {"parameters": self.agent.get_parameters(), "returns": scale, "n_steps": self.agent.num_timesteps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.agent.set_parameters(state_dict["parameters"], device=self.agent.device)
        mean, variance, self.returns.count = state_dict["returns"]
        self.returns.mean, self.returns.var = np.array(mean), np.array(variance)
        self.agent.num_timesteps = state_dict["n_steps"]


def _computes_bfloat16(device: th.device) -> bool:
    # Without hardware support, oneDNN emulates it, more slowly than single precision
    if device.type != "cpu" or th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported():
        return True
    warnings.warn("this processor does not support bfloat16: PPO computes in single precision", stacklevel=2)
    return False


@contextmanager
def _at_least(n_threads: int) -> Iterator[None]:
    """Use at least this number of PyTorch's threads within the block."""
    before = th.get_num_threads()
    th.set_num_threads(max(before, n_threads))
    try:
        yield
    finally:
        th.set_num_threads(before)


@th.no_grad()
def _move(averaged: nn.Module, latest: nn.Module, share: float) -> None:
    for target, parameter in zip(averaged.parameters(), latest.parameters(), strict=True):
        target.lerp_(parameter, share)


def _linear(first: float, last: float, share_left: float) -> float:
    return last + (first - last) * share_left


def _mean_return(agent: PPO) -> float:
    """Return the mean return of the last 100 episodes of the training; NaN before the first one."""
    episodes = agent.ep_info_buffer or ()
    return float(np.mean([episode["r"] for episode in episodes])) if episodes else float("nan")
