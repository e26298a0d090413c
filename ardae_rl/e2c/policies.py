"""The networks of Embed to Control and the planner that uses them, as an SB3 policy."""

from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space_channels_first
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from ardae_rl.common.checks import check_choice, check_min
from ardae_rl.common.policies import record_arguments
from ardae_rl.e2c.loss import E2CModel
from ardae_rl.e2c.transition import LocallyLinearTransition
from ardae_rl.latent.networks import GaussianEncoder, ImageDecoder
from ardae_rl.planning import Problem
from ardae_rl.planning.goal import CostProblem, GoalProblem
from ardae_rl.planning.policy import PLANNERS, LatentPlanningPolicy, State, zero_schedule

_ILQR: dict[str, Any] = {"n_iterations": 4, "n_restarts": 6}


class E2CPolicy(LatentPlanningPolicy):
    """E2C's encoder, decoder, transition and reward networks, and a planner in their latent space.

    With dictionary observations, plans aim at the image ``desired_goal``; otherwise they maximize the learned reward.

    Example:

    >>> import gymnasium as gym
    >>> import ardae_envs
    >>> from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage
    >>> from ardae_rl.e2c import E2CPolicy
    >>> env = VecTransposeImage(DummyVecEnv([lambda: gym.make("ardae/PlanarObstacles-v0")]))
    >>> policy = E2CPolicy(env.observation_space, env.action_space, lambda _: 1e-3, horizon=3)
    >>> actions, state = policy.predict(env.reset())

    :param observation_space: uint8 images of shape (channels, height, width), or a dictionary with such images as
        "observation" and "desired_goal".
    :param action_space: A bounded ``Box`` with one axis.
    :param lr_schedule: Learning rate schedule.
    :param z_dim: Dimension of the latent.
    :param hidden: Widths of the hidden layers of encoder and decoder.
    :param transition_hidden: Widths of the hidden layers of the transition's network.
    :param matrix: Form of the transition's matrix, "rank_one" or "full".
    :param process_noise: Standard deviation of the transition's noise.
    :param initial_std: Approximate standard deviation of the encoder at initialization.
    :param blur: Standard deviation of the blur of the encoder's inputs, in pixels; see
        :class:`~ardae_rl.latent.networks.GaussianEncoder` for this and the next two.
    :param sharp: Weight of the unblurred image beside the blurred one.
    :param motion: Factor of the differences between stacked images.
    :param planner: "ilqr", "cem" or "mppi".
    :param horizon: Number of steps of a plan.
    :param planner_kwargs: Further arguments of the planner. For "ilqr", None chooses ``n_iterations=4`` and
        ``n_restarts=6``; a dictionary replaces both.
    :param goal_weight: Weight of the squared distance to the goal, in units of the latents' standard deviation. All
        dimensions share one unit: scaled separately, the least informative dimensions would count most.
    :param action_weight: Weight of squared actions, which are at most 1.
    :param seed: Seed of the planner.
    :raises ValueError: If an argument has a value that is not supported.
    """

    latent_scale: th.Tensor
    constructor_arguments: dict[str, Any]

    @record_arguments
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
        initial_std: float = 0.1,
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
        for name, value in {"goal_weight": goal_weight, "action_weight": action_weight}.items():
            check_min(name, value, 0)
        self.by_goal = isinstance(observation_space, spaces.Dict)
        shape, action_dim = _image_shape(observation_space), int(action_space.shape[0])  # type: ignore[index]
        self.encoder = GaussianEncoder(shape, z_dim, hidden, initial_std, blur, sharp, motion)
        self.decoder = ImageDecoder(z_dim, shape, hidden)
        self.transition = LocallyLinearTransition(z_dim, action_dim, transition_hidden, matrix, process_noise)
        self.reward = nn.Sequential(*create_mlp(z_dim + action_dim, 1, list(transition_hidden)))
        self.register_buffer("latent_scale", th.ones(()))
        if planner_kwargs is None:
            planner_kwargs = _ILQR if planner == "ilqr" else {}
        self.planner = PLANNERS[planner](horizon, **planner_kwargs)
        self.goal_weight, self.action_weight = goal_weight, action_weight
        self.optimizer = th.optim.Adam(self.parameters(), lr=lr_schedule(1), fused=True)

    @property
    def model(self) -> E2CModel:
        """The networks that :func:`~ardae_rl.e2c.loss.e2c_loss` trains, without the reward network."""
        return E2CModel(self.encoder, self.decoder, self.transition)

    def dynamics(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return the mean of z', (n, z_dim), given z (n, z_dim) and u (n, action_dim)."""
        return self.transition(z)(z, u)

    def infer_state(
        self, observation: PyTorchObs, memory: State, last_actions: th.Tensor | None, episode_starts: th.Tensor
    ) -> tuple[th.Tensor, State]:
        """Return the encoder's mean, and an empty memory, because an observation shows the whole state."""
        if not isinstance(observation, dict):
            return self.encoder(as_images(observation))[0], ()
        mean, _ = self.encoder(as_images(observation["observation"]))
        goal, _ = self.encoder(as_images(observation["desired_goal"]))
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
        return self.constructor_arguments | {"lr_schedule": zero_schedule}


def as_images(observations: th.Tensor) -> th.Tensor:
    """Return uint8 images as floats in [0, 1]."""
    return observations / 255


def _image_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    """Return the shape of the images.

    :raises ValueError: If the observations are not channels-first images, or have no image of the goal.
    """
    images = [space]
    if isinstance(space, spaces.Dict):
        if not {"observation", "desired_goal"} <= space.keys():
            raise ValueError(f"`observation_space` must have the keys observation and desired_goal, got {space}")
        images = [space["observation"], space["desired_goal"]]
    for image in images:
        are_images = image.dtype == "uint8" and len(image.shape or ()) == 3 and image.shape == images[0].shape
        if not (are_images and isinstance(image, spaces.Box) and is_image_space_channels_first(image)):
            raise ValueError(f"`observation_space` must consist of uint8 images (channels, height, width), got {space}")
    return images[0].shape or ()
