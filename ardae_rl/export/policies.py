"""Deterministic policies as modules: everything between an observation and an action, in tensor operations."""

import inspect

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import nn
from torch.nn import functional as F

from ardae_rl.planning.policy import LatentPlanningPolicy
from ardae_rl.world_models.frame_policy import FramePolicy
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.vision import SIZE


class DeterministicPolicy(nn.Module):
    """The deterministic action of a policy, from observations to the environment's actions, as one module.

    It computes what ``predict(observation, deterministic=True)`` does, with tensors. Images have their channels first,
    as SB3's ``VecTransposeImage`` returns them; the module scales them.

    Example:

    >>> import torch as th
    >>> from ardae_rl import SACNF
    >>> from ardae_rl.export import DeterministicPolicy
    >>> policy = DeterministicPolicy(SACNF("MlpPolicy", "Pendulum-v1", buffer_size=10).policy)
    >>> policy(th.zeros(4, 3)).shape
    torch.Size([4, 1])

    :param policy: SB3 policy with continuous or discrete actions and without a recurrent state.
    :raises ValueError: If observations are not a Box, or the policy plans or has a state.
    """

    low: th.Tensor | None
    high: th.Tensor | None

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        if not isinstance(policy.observation_space, spaces.Box):
            raise ValueError(f"`policy` must have observations in a Box, got {policy.observation_space}")
        has_memory = "lstm_states" in inspect.signature(policy._predict).parameters  # as sb3-contrib calls it
        if has_memory or isinstance(policy, LatentPlanningPolicy | FramePolicy):
            name = type(policy).__name__
            raise ValueError(f"`policy` must map an observation to an action without planning or a state, got {name}")
        policy.set_training_mode(False)
        self.policy = policy
        box = policy.action_space if isinstance(policy.action_space, spaces.Box) else None
        self.squashed = box is not None and policy.squash_output
        self.register_buffer("low", None if box is None else th.as_tensor(box.low, device=policy.device))
        self.register_buffer("high", None if box is None else th.as_tensor(box.high, device=policy.device))

    def forward(self, observation: th.Tensor) -> th.Tensor:
        """Return actions (batch, ...) for observations (batch, ...)."""
        actions = self.policy._predict(observation, deterministic=True)
        if self.low is None or self.high is None:
            return actions
        actions = actions.reshape(-1, *self.low.shape)
        if self.squashed:
            return self.low + 0.5 * (actions + 1) * (self.high - self.low)
        return actions.clamp(self.low, self.high)


class WorldModelDecision(nn.Module):
    """A decision of a policy of ``WorldModels``: from a frame and the memory's state to an action and the next state.

    It computes what ``policy.decide(frames, state, episode_start, deterministic=True)`` does, with tensors. An episode
    starts with a state of zeros. With ``action_repeat``, hold each action for that many steps, and skip the frames in
    between.

    Example:

    >>> import gymnasium as gym
    >>> import torch as th
    >>> from ardae_rl.export import WorldModelDecision
    >>> from ardae_rl.world_models import WorldModelPolicy
    >>> env = gym.make("CarRacing-v3")
    >>> policy = WorldModelPolicy(env.observation_space, env.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    >>> decision = WorldModelDecision(policy)
    >>> action, h, c = decision(th.zeros(1, 96, 96, 3, dtype=th.uint8), *policy.memory.initial_state(1))
    >>> action.shape, h.shape
    (torch.Size([1, 3]), torch.Size([1, 8]))

    :param policy: Policy whose vision model has a Gaussian posterior, and whose controller sees latents.
    :raises ValueError: For another posterior, or a controller of frames.
    """

    rows: th.Tensor
    columns: th.Tensor

    def __init__(self, policy: WorldModelPolicy) -> None:
        super().__init__()
        if policy.arguments["posterior"] != "gaussian":
            raise ValueError(f"`policy` must have a Gaussian posterior, got {policy.arguments['posterior']!r}")
        if policy.stacked_policy is not None:
            raise ValueError("`policy` must have a controller of latents, got one with controller_input='frames'")
        policy.set_training_mode(False)
        self.policy = policy
        height, width = (policy.observation_space.shape or ())[:2]
        self.register_buffer("rows", _resizing(height - policy.cropped_rows).to(policy.device))
        self.register_buffer("columns", _resizing(width).to(policy.device))

    def forward(self, frames: th.Tensor, h: th.Tensor, c: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Return actions (n, ...), and the memory's next state, (n, memory_hidden) each.

        :param frames: Frames (n, height, width, 3), uint8.
        :param h: Hidden state of the memory, (n, memory_hidden).
        :param c: Cell state of the memory, (n, memory_hidden).
        """
        policy = self.policy
        cropped = frames[:, : self.rows.shape[1]].permute(0, 3, 1, 2).float()
        pixels = (self.rows @ cropped @ self.columns.mT).round().clamp(0, 255)
        z, _ = policy.vision.encode(pixels.permute(0, 2, 3, 1))
        outputs = policy.controller(policy.controller_parameters, policy.features(z, (h, c)))
        actions = policy.action_map.tensor_actions(outputs)
        return actions, *policy.memory.step(z, policy.action_map.tensor_inputs(actions), (h, c))


def _resizing(size: int) -> th.Tensor:
    """Return the matrix (SIZE, size) that resizes an axis as :func:`ardae_envs.frames.resize` does."""
    image = th.eye(size).view(1, 1, size, size)
    return F.interpolate(image, (SIZE, size), mode="bilinear", antialias=True)[0, 0]
