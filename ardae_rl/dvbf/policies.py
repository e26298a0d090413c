"""DVBF's state-space model, posterior and planner, as an SB3 policy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from ardae_rl.common.checks import check_choice, check_count, check_min
from ardae_rl.common.policies import record_arguments
from ardae_rl.dvbf.dynamics import GaussianEmission, ImageEmission, LearnedSSM, LocallyLinearDynamics, NeuralDynamics
from ardae_rl.dvbf.elbo import PosteriorSample
from ardae_rl.dvbf.posteriors import (
    InitialStatePosterior,
    NoisePosterior,
    SequenceEncoder,
    StepPosterior,
    TrajectoryIAFPosterior,
)
from ardae_rl.planning import Problem
from ardae_rl.planning.goal import CostProblem
from ardae_rl.planning.policy import PLANNERS, LatentPlanningPolicy, State, zero_schedule

POSTERIORS = ("noise", "initial_state", "trajectory_iaf", "step_iaf", "gaussian")
TRANSITIONS = ("locally_linear", "neural")


class DVBFPolicy(LatentPlanningPolicy):
    """The state-space model, its posterior, and a planner that maximizes the learned reward.

    The current state is inferred by the posterior from the last ``window`` observations and actions, which form the
    policy's memory.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.dvbf import DVBFPolicy
    >>> env = gym.make("Pendulum-v1")
    >>> policy = DVBFPolicy(env.observation_space, env.action_space, lambda _: 1e-3, horizon=3)
    >>> action, state = policy.predict(env.reset(seed=0)[0])

    :param observation_space: A ``Box`` of vectors, or of uint8 images.
    :param action_space: A bounded ``Box`` with one axis.
    :param lr_schedule: Learning rate schedule.
    :param z_dim: Dimension of a state.
    :param posterior: "noise" (over the process noise, as in DVBF), "initial_state" (over z_0, with dynamics without
        noise), "trajectory_iaf" (flows over the noise of the whole trajectory), "step_iaf" (flows step by step), or
        "gaussian" (over each state given the previous one).
    :param smoothing: Whether the posterior of a state also depends on later observations; otherwise it is a filter.
    :param transition: "locally_linear" or "neural".
    :param n_matrices: Number of matrices of locally linear transitions.
    :param encoder_hidden: Width of the recurrent encoder.
    :param emission_hidden: Widths of the hidden layers of the emission.
    :param n_flows: Number of flows of the posteriors "trajectory_iaf" and "step_iaf".
    :param planner: "cem", "mppi" or "ilqr".
    :param horizon: Number of steps of a plan.
    :param planner_kwargs: Further arguments of the planner.
    :param action_weight: Weight of squared actions in the cost of plans.
    :param window: Number of observations from which a state is inferred.
    :param n_draws: Number of posterior samples that are averaged to infer the state.
    :param seed: Seed of the planner and of the sampled states.
    :raises ValueError: If an argument has a value that is not supported.
    """

    constructor_arguments: dict[str, Any]
    obs_mean: th.Tensor
    obs_std: th.Tensor

    @record_arguments
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
            check_count(name, value)
        check_min("action_weight", action_weight, 0)
        if not isinstance(observation_space, spaces.Box):
            raise ValueError(f"`observation_space` must be a Box of vectors or images, got {observation_space}")
        self.z_dim = z_dim
        self.has_images = observation_space.dtype == np.uint8
        obs_dim, act_dim = int(np.prod(observation_space.shape)), int(action_space.shape[0])  # type: ignore[index]
        dynamics = (
            LocallyLinearDynamics(z_dim, act_dim, n_matrices)
            if transition == "locally_linear"
            else NeuralDynamics(z_dim, act_dim)
        )
        emission = (ImageEmission if self.has_images else GaussianEmission)(z_dim, obs_dim, emission_hidden)
        self.model = LearnedSSM(dynamics, emission)
        encoder = SequenceEncoder(obs_dim, act_dim, encoder_hidden, smoothing)
        self.posterior = make_posterior(posterior, encoder, z_dim, n_flows)
        self.reward = nn.Sequential(*create_mlp(z_dim + act_dim, 1, [128, 128], nn.ELU))
        self.register_buffer("obs_mean", th.zeros(obs_dim))
        self.register_buffer("obs_std", th.ones(obs_dim))
        self.planner = PLANNERS[planner](horizon, **(planner_kwargs or {}))
        self.action_weight, self.window, self.n_draws = action_weight, window, n_draws
        self.optimizer = th.optim.Adam(self.parameters(), lr=lr_schedule(1), fused=True)

    def preprocess(self, observations: th.Tensor, n_leading: int) -> th.Tensor:
        """Return observations as the model sees them: flat, images in [0, 1], vectors standardized.

        :param n_leading: Number of axes before those of an observation.
        """
        flat = observations.flatten(n_leading).float()
        return flat / 255 if self.has_images else (flat - self.obs_mean) / self.obs_std

    def postprocess(self, x: th.Tensor) -> th.Tensor:
        """Invert :meth:`preprocess` for vectors; images stay flat and in [0, 1]."""
        return x if self.has_images else x * self.obs_std + self.obs_mean

    def sample_posterior(self, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        """Sample the states of sequences.

        :param x: Observations from :meth:`preprocess`, (batch, T + 1, obs_dim).
        :param u: Actions, (batch, T, action_dim).
        """
        sample: PosteriorSample = self.posterior(self.model, x, u)
        return sample

    def infer_state(
        self, observation: PyTorchObs, memory: State, last_actions: th.Tensor | None, episode_starts: th.Tensor
    ) -> tuple[th.Tensor, State]:
        """Return the mean of posterior samples of the current state, and the memory.

        The memory holds the last ``window`` observations and actions, and the number of those observations that belong
        to the current episode.
        """
        assert isinstance(observation, th.Tensor)
        now = self.preprocess(observation, 1)
        if not memory or last_actions is None:
            x = now.new_zeros(len(now), self.window, now.shape[-1])
            u = now.new_zeros(len(now), self.window, int(self.action_space.shape[0]))  # type: ignore[index]
            count = th.zeros(len(now), dtype=th.int64, device=now.device)
        else:
            x, u, count = (th.as_tensor(part, device=now.device) for part in memory)
            u = th.cat([u[:, 1:], last_actions.to(u).unsqueeze(1)], 1)
            count = count * ~episode_starts
        x = th.cat([x[:, 1:], now.unsqueeze(1)], 1)
        count = (count + 1).clamp(max=self.window)
        start = now.new_zeros(len(now), self.z_dim)
        with th.random.fork_rng():
            for row, n in enumerate(count.tolist()):
                th.manual_seed(self.seed)  # a state depends neither on the other rows nor on its place among them
                # The action before the first observation of the window is not part of the sequence
                sequence = (
                    x[row, -n:].expand(self.n_draws, -1, -1),
                    u[row, u.shape[1] - n + 1 :].expand(self.n_draws, -1, -1),
                )
                start[row] = self.sample_posterior(*sequence).z[:, -1].mean(0)
        return start, tuple(part.cpu().numpy() for part in (x, u, count))

    def problem(self) -> Problem:
        action_dim = int(self.action_space.shape[0])  # type: ignore[index]
        return CostProblem(self._mean, self._cost, action_dim, self.device)

    def _mean(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        return self.model.next_state(z, u, th.zeros_like(z))

    def _cost(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        return self.action_weight * u.square().sum(-1) - self.expected_reward(z, u)

    def expected_reward(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return the expected reward of a step, (...), given z (..., z_dim) and u (..., action_dim)."""
        reward: th.Tensor = self.reward(th.cat([z, u], -1)).squeeze(-1)
        return reward

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return self.constructor_arguments | {"lr_schedule": zero_schedule}


def make_posterior(name: str, encoder: SequenceEncoder, z_dim: int, n_flows: int) -> nn.Module:
    """Return a new posterior of the kind ``name``, one of ``POSTERIORS``."""
    if name == "noise":
        return NoisePosterior(encoder, z_dim)
    if name == "initial_state":
        return InitialStatePosterior(encoder, z_dim)
    if name == "trajectory_iaf":
        return TrajectoryIAFPosterior(encoder, z_dim, n_flows)
    return StepPosterior(encoder, z_dim, n_flows if name == "step_iaf" else 0)
