"""State-space model, posterior and planner of DVBF as an SB3 policy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.dvbf.dynamics import GaussianEmission, LearnedSSM, LocallyLinearDynamics, NeuralDynamics, PictureEmission
from ardae_rl.dvbf.elbo import Drawn
from ardae_rl.dvbf.posteriors import (
    InitialStatePosterior,
    NoisePosterior,
    SequenceEncoder,
    StepPosterior,
    TrajectoryIAFPosterior,
)
from ardae_rl.planning import Problem
from ardae_rl.planning.goal import CostProblem
from ardae_rl.planning.policy import PLANNERS, LatentPlanningPolicy, State, no_learning

POSTERIORS = ("noise", "initial_state", "trajectory_iaf", "step_iaf", "gaussian")
TRANSITIONS = ("locally_linear", "neural")


class DVBFPolicy(LatentPlanningPolicy):
    """The model and its posterior, and plans for the reward that was learnt.

    Where the system is, is told by the posterior of the last ``window`` observations and actions, which is the policy's
    memory.

    :param observation_space: vectors, or pictures of bytes
    :param action_space: bounded real actions
    :param lr_schedule: learning rate
    :param z_dim: dimension of a state
    :param posterior: "noise" (of the noise that states follow from: DVBF), "initial_state" (one draw for a trajectory,
        dynamics without noise), "trajectory_iaf" (one parallel draw of all the noise), "step_iaf" (flows step by step),
        or "gaussian" (of a state given the one before)
    :param smoothing: whether the posterior of a state knows the future, or is a filter
    :param transition: "locally_linear" or "neural"
    :param n_matrices: of locally linear transitions
    :param encoder_hidden: width of the recurrent encoder
    :param emission_hidden: widths of the emission's network
    :param n_flows: of the posteriors with flows
    :param planner: "cem", "mppi" or "ilqr"
    :param horizon: steps of a plan
    :param planner_kwargs: further arguments of the planner
    :param action_weight: of squared actions in a plan's cost
    :param window: observations that a state is told from
    :param n_draws: states drawn there, of which the mean is taken
    :param seed: of planner and draws
    :raises ValueError: for arguments outside of what is accepted
    """

    obs_mean: th.Tensor
    obs_std: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        z_dim: int = 4,
        posterior: str = "noise",
        smoothing: bool = True,
        transition: str = "locally_linear",
        n_matrices: int = 16,
        encoder_hidden: int = 64,
        emission_hidden: Sequence[int] = (128,),
        n_flows: int = 2,
        planner: str = "cem",
        horizon: int = 20,
        planner_kwargs: dict[str, Any] | None = None,
        action_weight: float = 0.0,
        window: int = 5,
        n_draws: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        check_choice("posterior", posterior, POSTERIORS)
        check_choice("transition", transition, TRANSITIONS)
        check_choice("planner", planner, PLANNERS)
        for name, value in {"window": window, "n_draws": n_draws}.items():
            check_positive(name, value)
        if not isinstance(observation_space, spaces.Box):
            raise ValueError(f"observation_space={observation_space}: accepted are vectors and pictures")
        self.z_dim = z_dim
        self.pictures = observation_space.dtype == np.uint8
        obs_dim, act_dim = int(np.prod(observation_space.shape)), int(action_space.shape[0])  # type: ignore[index]
        dynamics = (
            LocallyLinearDynamics(z_dim, act_dim, n_matrices)
            if transition == "locally_linear"
            else NeuralDynamics(z_dim, act_dim)
        )
        emission = (PictureEmission if self.pictures else GaussianEmission)(z_dim, obs_dim, emission_hidden)
        self.model = LearnedSSM(dynamics, emission)
        encoder = SequenceEncoder(obs_dim, act_dim, encoder_hidden, smoothing)
        self.posterior = make_posterior(posterior, encoder, z_dim, n_flows)
        self.reward = nn.Sequential(*create_mlp(z_dim + act_dim, 1, [128, 128], nn.ELU))
        self.register_buffer("obs_mean", th.zeros(obs_dim))
        self.register_buffer("obs_std", th.ones(obs_dim))
        self.planner = PLANNERS[planner](horizon, **(planner_kwargs or {}))
        self.action_weight, self.window, self.n_draws = action_weight, window, n_draws
        self.optimizer = th.optim.Adam(self.parameters(), lr=lr_schedule(1), fused=True)
        self._arguments = {
            "z_dim": z_dim,
            "posterior": posterior,
            "smoothing": smoothing,
            "transition": transition,
            "n_matrices": n_matrices,
            "encoder_hidden": encoder_hidden,
            "emission_hidden": tuple(emission_hidden),
            "n_flows": n_flows,
            "planner": planner,
            "horizon": horizon,
            "planner_kwargs": planner_kwargs,
            "action_weight": action_weight,
            "window": window,
            "n_draws": n_draws,
            "seed": seed,
        }

    def see(self, observations: th.Tensor, n_leading: int) -> th.Tensor:
        """Observations as the model has them: flat, pictures in [0, 1], vectors standardised.

        :param n_leading: dimensions before those of an observation
        """
        flat = observations.flatten(n_leading).float()
        return flat / 255 if self.pictures else (flat - self.obs_mean) / self.obs_std

    def unsee(self, seen: th.Tensor) -> th.Tensor:
        """The inverse for vectors; pictures stay flat and in [0, 1]."""
        return seen if self.pictures else seen * self.obs_std + self.obs_mean

    def draw(self, x: th.Tensor, u: th.Tensor) -> Drawn:
        """States of sequences x, (batch, T + 1, obs_dim) as :meth:`see` gives them, and u, (batch, T, action_dim)."""
        drawn: Drawn = self.posterior(self.model, x, u)
        return drawn

    def locate(
        self, observation: PyTorchObs, memory: State, last_actions: th.Tensor | None, begun: th.Tensor
    ) -> tuple[th.Tensor, State]:
        """The mean of some draws of the last state, given what the memory holds: (observations, actions, how many)."""
        assert isinstance(observation, th.Tensor)
        now = self.see(observation, 1)
        if not memory or last_actions is None:
            x = now.new_zeros(len(now), self.window, now.shape[-1])
            u = now.new_zeros(len(now), self.window, int(self.action_space.shape[0]))  # type: ignore[index]
            count = th.zeros(len(now), dtype=th.int64, device=now.device)
        else:
            x, u, count = (th.as_tensor(part, device=now.device) for part in memory)
            u = th.cat([u[:, 1:], last_actions.to(u).unsqueeze(1)], 1)
            count = count * ~begun
        x = th.cat([x[:, 1:], now.unsqueeze(1)], 1)
        count = (count + 1).clamp(max=self.window)
        start = now.new_zeros(len(now), self.z_dim)
        with th.random.fork_rng():
            th.manual_seed(self.seed)
            for n in count.unique().tolist():
                rows = count == n
                # The action before the first observation of the window belongs to none of them
                known = (
                    x[rows, -n:].repeat(self.n_draws, 1, 1),
                    u[rows, u.shape[1] - n + 1 :].repeat(self.n_draws, 1, 1),
                )
                start[rows] = self.draw(*known).z[:, -1].unflatten(0, (self.n_draws, -1)).mean(0)
        return start, tuple(part.cpu().numpy() for part in (x, u, count))

    def problem(self) -> Problem:
        action_dim = int(self.action_space.shape[0])  # type: ignore[index]
        return CostProblem(self._mean, self._cost, action_dim, self.device)

    def _mean(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        return self.model.following(z, u, th.zeros_like(z))

    def _cost(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        return self.action_weight * u.square().sum(-1) - self.expected_reward(z, u)

    def expected_reward(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Of a step, (...), from (..., z_dim) and (..., action_dim)."""
        reward: th.Tensor = self.reward(th.cat([z, u], -1)).squeeze(-1)
        return reward

    def _get_constructor_parameters(self) -> dict[str, Any]:
        spaces_ = {"observation_space": self.observation_space, "action_space": self.action_space}
        return spaces_ | {"lr_schedule": no_learning} | self._arguments


def make_posterior(name: str, encoder: SequenceEncoder, z_dim: int, n_flows: int) -> nn.Module:
    """A posterior by its name of ``POSTERIORS``."""
    if name == "noise":
        return NoisePosterior(encoder, z_dim)
    if name == "initial_state":
        return InitialStatePosterior(encoder, z_dim)
    if name == "trajectory_iaf":
        return TrajectoryIAFPosterior(encoder, z_dim, n_flows)
    return StepPosterior(encoder, z_dim, n_flows if name == "step_iaf" else 0)
