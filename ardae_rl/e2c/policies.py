"""The networks of Embed to Control, and the planner that uses them, as an SB3 policy."""

from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from ardae_rl.common.checks import check_choice
from ardae_rl.e2c.loss import E2CModel
from ardae_rl.e2c.transition import LocallyLinearTransition
from ardae_rl.latent.networks import GaussianEncoder, PictureDecoder
from ardae_rl.planning import Problem
from ardae_rl.planning.goal import CostProblem, GoalProblem
from ardae_rl.planning.policy import PLANNERS, LatentPlanningPolicy, State, no_learning

_ILQR: dict[str, Any] = {"n_iterations": 4, "n_restarts": 6}


class E2CPolicy(LatentPlanningPolicy):
    """Encoder, decoder, transition and reward of E2C, and a planner in their latent space.

    With dictionaries as observations, plans lead to the picture ``desired_goal``; else to where the reward that was
    learnt is large.

    :param observation_space: pictures (channels, height, width), uint8, or a dictionary with such as "observation" and
        "desired_goal"
    :param action_space: bounded real actions
    :param lr_schedule: learning rate
    :param z_dim: dimension of the latent
    :param hidden: widths of encoder and decoder
    :param transition_hidden: widths of the transition's network
    :param matrix: of the transition: "rank_one" or "full"
    :param process_noise: standard deviation of the transition's noise
    :param first_std: of the encoder in the beginning, about
    :param blur: of the pictures that the encoder sees (:class:`~ardae_rl.latent.networks.GaussianEncoder`), as for the
        next two
    :param sharp: what is left of the pictures beside
    :param motion: of the differences between them
    :param planner: "ilqr", "cem" or "mppi"
    :param horizon: steps of a plan
    :param planner_kwargs: further arguments of the planner
    :param goal_weight: of the squared distance to the goal, in units of the latents' standard deviation. It is one for
        all dimensions: a unit of its own for each would let those count most that say least
    :param action_weight: of squared actions, which are at most 1
    :param seed: of the planner
    :raises ValueError: for arguments outside of what is accepted
    """

    latent_scale: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        z_dim: int = 2,
        hidden: Sequence[int] = (300, 300),
        transition_hidden: Sequence[int] = (100, 100),
        matrix: str = "rank_one",
        process_noise: float = 0.0,
        first_std: float = 0.1,
        blur: float = 0.0,
        sharp: float = 0.25,
        motion: float = 0.0,
        planner: str = "ilqr",
        horizon: int = 10,
        planner_kwargs: dict[str, Any] | None = None,
        goal_weight: float = 1.0,
        action_weight: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        check_choice("planner", planner, PLANNERS)
        self.by_goal = isinstance(observation_space, spaces.Dict)
        shape, action_dim = _picture_shape(observation_space), int(action_space.shape[0])  # type: ignore[index]
        self.encoder = GaussianEncoder(shape, z_dim, hidden, first_std, blur, sharp, motion)
        self.decoder = PictureDecoder(z_dim, shape, hidden)
        self.transition = LocallyLinearTransition(z_dim, action_dim, transition_hidden, matrix, process_noise)
        self.reward = nn.Sequential(*create_mlp(z_dim + action_dim, 1, list(transition_hidden)))
        self.register_buffer("latent_scale", th.ones(()))
        if planner_kwargs is None:
            planner_kwargs = _ILQR if planner == "ilqr" else {}
        self.planner = PLANNERS[planner](horizon, **planner_kwargs)
        self.goal_weight, self.action_weight = goal_weight, action_weight
        self.optimizer = th.optim.Adam(self.parameters(), lr=lr_schedule(1), fused=True)
        self._arguments = {
            "z_dim": z_dim,
            "hidden": tuple(hidden),
            "transition_hidden": tuple(transition_hidden),
            "matrix": matrix,
            "process_noise": process_noise,
            "first_std": first_std,
            "blur": blur,
            "sharp": sharp,
            "motion": motion,
            "planner": planner,
            "horizon": horizon,
            "planner_kwargs": planner_kwargs,
            "goal_weight": goal_weight,
            "action_weight": action_weight,
            "seed": seed,
        }

    @property
    def model(self) -> E2CModel:
        """Without the planner."""
        return E2CModel(self.encoder, self.decoder, self.transition)

    def dynamics(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """The mean of z', (n, z_dim), of (n, z_dim) and (n, action_dim)."""
        following: th.Tensor = self.transition(z)(z, u)
        return following

    def locate(
        self, observation: PyTorchObs, memory: State, last_actions: th.Tensor | None, begun: th.Tensor
    ) -> tuple[th.Tensor, State]:
        """The mean of the encoder, which sees all there is to know: nothing is remembered."""
        if not isinstance(observation, dict):
            return self.encoder(as_pictures(observation))[0], ()
        mean, _ = self.encoder(as_pictures(observation["observation"]))
        goal, _ = self.encoder(as_pictures(observation["desired_goal"]))
        return GoalProblem.state(mean, goal), ()

    def problem(self) -> Problem:
        action_dim = int(self.action_space.shape[0])  # type: ignore[index]
        if not self.by_goal:
            return CostProblem(self.dynamics, self._cost, action_dim, self.device)
        weight = self.goal_weight / self.latent_scale.square()
        return GoalProblem(self.dynamics, action_dim, weight, self.action_weight, self.device)

    def _cost(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        reward = self.reward(th.cat([z, u], -1)).squeeze(-1)
        return self.action_weight * u.square().sum(-1) - reward

    def _get_constructor_parameters(self) -> dict[str, Any]:
        spaces_ = {"observation_space": self.observation_space, "action_space": self.action_space}
        return spaces_ | {"lr_schedule": no_learning} | self._arguments


def as_pictures(observations: th.Tensor) -> th.Tensor:
    """Bytes as numbers in [0, 1]."""
    return observations / 255


def _picture_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    """:raises ValueError: for observations that are no pictures, or lack that of the goal"""
    pictures = [space]
    if isinstance(space, spaces.Dict):
        if not {"observation", "desired_goal"} <= space.keys():
            raise ValueError(f"observation_space={space}: accepted are dictionaries with observation and desired_goal")
        pictures = [space["observation"], space["desired_goal"]]
    for picture in pictures:
        if picture.dtype != "uint8" or len(picture.shape or ()) != 3 or picture.shape != pictures[0].shape:
            raise ValueError(f"observation_space={space}: accepted are pictures of bytes, (channels, height, width)")
    return pictures[0].shape or ()
