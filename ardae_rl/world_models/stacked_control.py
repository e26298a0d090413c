"""Controllers of the last few frames, with convolutions initialized by V's, which an SB3 algorithm trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.world_models.action_map import ActionMap
from ardae_rl.world_models.beta import BetaPolicy
from ardae_rl.world_models.frame_policy import State, to_vision_input
from ardae_rl.world_models.vision import SIZE, ConvVAE

Array = NDArray[Any]


class StackedVision(BaseFeaturesExtractor):
    """Convolutions of V's architecture over a stack of frames, the observations of
    :class:`~ardae_rl.world_models.controller_envs.FlatStacks`.

    :meth:`start_from` copies V's weights for the newest frame and sets those for the other frames to zero. Training
    thus starts from V's features of the newest frame, and can learn motion from the others. If ``in_bfloat16`` is set,
    the convolutions are computed in this format, which some processors support in hardware; pixels are exact in it.

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.stacked_control import StackedVision, stacks_space
    >>> from ardae_rl.world_models.vision import ConvVAE
    >>> extractor = StackedVision(stacks_space(n_frames=4), width=4)
    >>> extractor.start_from(ConvVAE(z_dim=8, width=4).encoder.state_dict())
    >>> extractor(255 * th.rand(2, 64 * 64 * 12)).shape
    torch.Size([2, 128])

    :param observation_space: Space of the stacks, see :func:`stacks_space`.
    :param width: Number of channels of the first layer.
    :raises ValueError: For any other observation space.
    """

    in_bfloat16 = False

    def __init__(self, observation_space: spaces.Box, width: int = 32) -> None:
        check_count("width", width)
        n_frames = frames_in(observation_space)
        super().__init__(observation_space, 32 * width)
        self.encoder = ConvVAE(1, width).encoder
        self.encoder[0] = _ByteConv2d(3 * n_frames, width, 4, 2).to(memory_format=th.channels_last)  # type: ignore[call-overload]

    def start_from(self, encoder: dict[str, th.Tensor]) -> None:
        """Copy the weights of V's convolutions.

        :param encoder: State dictionary of V's encoder.
        :raises ValueError: If V has another width.
        """
        weight = th.zeros_like(self.encoder[0].weight)
        first = encoder["0.weight"]
        if len(first) != len(weight):
            raise ValueError(f"`encoder` must have the width {len(weight)}, got {len(first)}")
        weight[:, -3:] = first
        self.encoder.load_state_dict(encoder | {"0.weight": weight})

    def forward(self, observations: th.Tensor) -> th.Tensor:
        images = observations.view(len(observations), SIZE, SIZE, -1).permute(0, 3, 1, 2)  # channels last in memory
        images = images.to(th.bfloat16 if self.in_bfloat16 else th.float32)
        with th.autocast(images.device.type, th.bfloat16, enabled=self.in_bfloat16):
            features: th.Tensor = self.encoder(images)
        return features.float()


class StackedActor(BetaPolicy):
    """An actor that passes uint8 pixels to :class:`StackedVision`, because SB3's conversion to floats copies them."""

    def extract_features(  # type: ignore[override]
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> th.Tensor | tuple[th.Tensor, th.Tensor]:
        features: th.Tensor = self.features_extractor(obs)
        return features


class _ByteConv2d(nn.Conv2d):
    """A convolution of images in [0, 255] with weights for images in [0, 1], which saves a pass over the images."""

    def forward(self, images: th.Tensor) -> th.Tensor:
        return self._conv_forward(images, self.weight / 255, self.bias)


def stacks_space(n_frames: int) -> spaces.Box:
    """Return the space of flattened stacks, (64 * 64 * 3 n_frames,): rows, columns, then the channels of all frames."""
    return spaces.Box(0, 255, (SIZE * SIZE * 3 * n_frames,), np.uint8)


def frames_in(space: spaces.Space[Any]) -> int:
    """Return the number of frames in the stacks of a space.

    :raises ValueError: If it is not a space of :func:`stacks_space`.
    """
    (size,) = space.shape if space.shape and len(space.shape) == 1 else (0,)
    n_frames, rest = divmod(size, SIZE * SIZE * 3)
    if n_frames < 1 or rest:
        raise ValueError(f"`observation_space` must be of shape ({SIZE} * {SIZE} * 3 n,), got {space}")
    return n_frames


class StackedPolicy(nn.Module):
    """Decisions on the environment's own frames, by an actor that was trained on stacks of views.

    :param actor: SB3 policy for stacks of views, see :func:`stacks_space`, and actions in [-1, 1].
    :param action_map: Maps the actor's actions to the environment's.
    :param cropped_rows: Number of rows cut off the bottom of each frame.
    """

    def __init__(self, actor: BasePolicy, action_map: ActionMap, cropped_rows: int = 0) -> None:
        super().__init__()
        self.actor, self.action_map, self.cropped_rows = actor, action_map, cropped_rows
        self.n_frames = frames_in(actor.observation_space)

    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        """As :meth:`~ardae_rl.world_models.frame_policy.FramePolicy.decide`.

        The state is the stack, (n, 64, 64, 3 n_frames); earlier frames are black.
        """
        return self.decide_views(to_vision_input(frames, self.cropped_rows), state, episode_start, deterministic)

    def decide_views(
        self, views: NDArray[np.uint8], state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        """Like :meth:`decide`, for frames preprocessed by :func:`to_vision_input`, (n, 64, 64, 3)."""
        stack = np.zeros((len(views), SIZE, SIZE, 3 * self.n_frames), np.uint8)
        if state is not None:
            earlier = state[0][..., 3:]
            stack[..., :-3] = np.where(episode_start[:, None, None, None], 0, earlier)
        stack[..., -3:] = views
        outputs, _ = self.actor.predict(stack.reshape(len(stack), -1), deterministic=deterministic)
        return self.action_map.actions(outputs), (stack,)


def actor_arguments(width: int, hidden: Sequence[int]) -> dict[str, Any]:
    """Return the arguments of an SB3 policy whose features extractor is a :class:`StackedVision`.

    :param width: Number of channels of its first layer.
    :param hidden: Widths of the hidden layers of actor and critic.
    """
    return {
        "features_extractor_class": StackedVision,
        "features_extractor_kwargs": {"width": width},
        "net_arch": list(hidden),
    }


def make_actor(n_frames: int, n_outputs: int, width: int, hidden: Sequence[int]) -> StackedActor:
    """Return an untrained actor for a :class:`StackedPolicy`.

    :param n_frames: Number of frames in a stack.
    :param n_outputs: Number of outputs of the action map.
    :param width: As in :func:`actor_arguments`.
    :param hidden: As in :func:`actor_arguments`.
    """
    outputs = spaces.Box(-1.0, 1.0, (n_outputs,), np.float32)
    return StackedActor(stacks_space(n_frames), outputs, lambda _: 0.0, **actor_arguments(width, hidden))
