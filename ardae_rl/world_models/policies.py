"""The policy of World Models: everything between the environment's frames and its actions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from ardae_rl.common.checks import check_between, check_choice, check_count, check_widths
from ardae_rl.common.policies import record_arguments
from ardae_rl.world_models.action_map import make_action_map
from ardae_rl.world_models.controller import Controller
from ardae_rl.world_models.frame_policy import FramePolicy, State, to_vision_input
from ardae_rl.world_models.implicit_vision import ImplicitConvVAE
from ardae_rl.world_models.memory import MemoryRNN
from ardae_rl.world_models.memory import State as MemoryState
from ardae_rl.world_models.stacked_control import StackedPolicy, actor_arguments, make_actor
from ardae_rl.world_models.vision import ConvVAE

CONTROLLER_INPUTS = ("z", "zh", "zc", "zch", "frames")
POSTERIORS = ("gaussian", "implicit")
Array = NDArray[Any]


class WorldModelPolicy(FramePolicy):
    """Vision V, memory M and controller C, with the preprocessing of frames and the mapping of outputs to actions.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.world_models import WorldModelPolicy
    >>> env = gym.make("CarRacing-v3")
    >>> policy = WorldModelPolicy(env.observation_space, env.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    >>> action, state = policy.predict(env.reset(seed=0)[0])
    >>> action.shape, policy.n_parameters
    ((3,), 26)

    :param observation_space: Frames, uint8, (height, width, 3).
    :param action_space: Box or Discrete.
    :param z_dim: Dimension of V's latent.
    :param vision_width: Number of channels of V's first layer.
    :param posterior: V's posterior: ``"gaussian"``, or ``"implicit"`` for
        :class:`~ardae_rl.world_models.implicit_vision.ImplicitConvVAE`.
    :param free_nats: Free nats per latent unit of a Gaussian V, see :class:`~ardae_rl.world_models.vision.ConvVAE`.
    :param memory_hidden: Number of M's hidden units.
    :param n_components: Number of components of M's mixture.
    :param mixture_form: ``"per_dimension"`` or ``"joint"``, see :class:`~ardae_rl.world_models.mixture.Mixture`.
    :param controller_input: C's inputs, from the latent z, the hidden state h and the cell state c: ``"z"``,
        ``"zh"``, ``"zc"`` or ``"zch"``. With ``"frames"``, C is trained by PPO (``stacked_policy``), and its inputs are
        the last frames, which it processes by its own convolutions of V's architecture.
    :param controller_hidden: Widths of C's hidden layers; empty for the paper's controller without hidden layers.
    :param n_frames: Number of frames in the input of a C with ``controller_input="frames"``.
    :param action_map: ``"auto"``, ``"identity"``, ``"steer_and_pedal"`` or ``"one_axis"``, see
        :func:`~ardae_rl.world_models.action_map.make_action_map`.
    :param cropped_rows: Number of rows cut off the bottom of each frame (12 for CarRacing's indicator bar).
    :param action_repeat: Number of steps for which an action is held; the frames in between are ignored.
    :raises ValueError: For observations that are not such frames, or a value outside of its range.
    """

    constructor_arguments: dict[str, Any]

    @record_arguments
    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        z_dim: int = 32,
        vision_width: int = 32,
        posterior: str = "gaussian",
        free_nats: float = 0.5,
        memory_hidden: int = 256,
        n_components: int = 5,
        mixture_form: str = "per_dimension",
        controller_input: str = "zh",
        controller_hidden: Sequence[int] = (),
        n_frames: int = 4,
        action_map: str = "auto",
        cropped_rows: int = 0,
        action_repeat: int = 1,
    ) -> None:
        super().__init__(observation_space, action_space, action_repeat)
        shape = observation_space.shape or ()
        if observation_space.dtype != np.uint8 or len(shape) != 3 or shape[-1] != 3:
            raise ValueError(
                f"`observation_space` must be uint8 frames of shape (height, width, 3), got {observation_space}"
            )
        check_count("cropped_rows", cropped_rows, 0)
        check_between("cropped_rows", cropped_rows, 0, shape[0] - 1)
        check_choice("controller_input", controller_input, CONTROLLER_INPUTS)
        check_choice("posterior", posterior, POSTERIORS)
        check_count("n_frames", n_frames)
        check_widths("controller_hidden", controller_hidden)
        self.controller_input, self.cropped_rows = controller_input, cropped_rows
        self.action_map = make_action_map(action_map, action_space)
        self.stacked_policy: StackedPolicy | None = None
        if controller_input == "frames":
            actor = make_actor(n_frames, self.action_map.n_outputs, vision_width, controller_hidden)
            self.stacked_policy = StackedPolicy(actor, self.action_map, cropped_rows)
        self.n_features = z_dim + memory_hidden * sum(controller_input.count(state) for state in "hc")
        self.vision = (
            ConvVAE(z_dim, vision_width, free_nats)
            if posterior == "gaussian"
            else ImplicitConvVAE(z_dim, vision_width, noise_dim=z_dim)
        )
        self.memory = MemoryRNN(z_dim, self.action_map.memory_dim, memory_hidden, n_components, mixture_form)
        self.controller = Controller(self.n_features, self.action_map.n_outputs, controller_hidden)
        self.controller_parameters = nn.Parameter(th.zeros(self.n_parameters), requires_grad=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor, without the spaces."""
        return {name: value for name, value in self.constructor_arguments.items() if not name.endswith("_space")}

    @property
    def n_parameters(self) -> int:
        """Number of the controller's parameters that CMA-ES optimizes; 0 if PPO trains it."""
        return self.controller.n_parameters if self.stacked_policy is None else 0

    @property
    def actor_arguments(self) -> dict[str, Any]:
        """Arguments of a controller of frames, which is an SB3 policy."""
        return actor_arguments(self.arguments["vision_width"], self.arguments["controller_hidden"])

    def preprocess(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop and resize frames (n, height, width, 3) to V's inputs, (n, 64, 64, 3)."""
        return to_vision_input(frames, self.cropped_rows)

    def act(
        self,
        parameters: Array,
        observations: Array,
        state: State | None,
        episode_start: NDArray[np.bool_],
        deterministic: bool = True,
    ) -> tuple[Array, State]:
        """Return the actions of n controllers in n environments.

        :param parameters: Parameters (n, n_parameters), or (n_parameters,) for the same controller in all.
        :param observations: Frames (n, height, width, 3).
        :param state: State of the memory; None for the start of all episodes.
        :param episode_start: Mask (n,) of the environments in which an episode starts, where ``state`` is ignored.
        :param deterministic: Whether the latent is the posterior's mean instead of a sample.
        :return: Actions (n, ...), and the state after them.
        """
        if self.stacked_policy is not None:
            return self.stacked_policy.decide(observations, state, episode_start, deterministic)
        return self._act(self._tensor(parameters), observations, state, episode_start, deterministic)

    def start_from_vision(self) -> None:
        """Initialize a controller of frames with V's convolutions for the newest frame, and zeros for the others."""
        assert self.stacked_policy is not None
        self.stacked_policy.actor.features_extractor.start_from(self.vision.encoder.state_dict())  # type: ignore[operator]

    def features(self, z: th.Tensor, state: MemoryState) -> th.Tensor:
        """Return the controller's inputs (n, n_features), given latents and the memory's state before them."""
        parts = {"z": z, "h": state[0], "c": state[1]}
        return th.cat([parts[name] for name in self.controller_input], -1)

    def control(self, parameters: th.Tensor, features: th.Tensor) -> Array:
        """Return the actions (n, ...) of controllers with these parameters, given their inputs (n, n_features)."""
        return self.action_map.actions(self.controller(parameters, features).cpu().numpy())

    def remember(self, z: th.Tensor, actions: Array, state: MemoryState) -> MemoryState:
        """Return the memory's state after latents (n, z_dim) and the actions (n, ...) that were taken there."""
        return self.memory.step(z, self._tensor(self.action_map.inputs(actions)), state)

    def latents(self, observations: Array, deterministic: bool = True) -> th.Tensor:
        """Return the latents (n, z_dim) of frames (n, height, width, 3): the posteriors' means, or samples."""
        frames = th.as_tensor(self.preprocess(observations), device=self.device)
        return self.vision.encode(frames)[0] if deterministic else self.vision.draw(frames)

    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        if self.stacked_policy is not None:
            return self.stacked_policy.decide(frames, state, episode_start, deterministic)
        return self._act(self.controller_parameters.detach(), frames, state, episode_start, deterministic)

    def memory_state(self, state: State | None, episode_start: NDArray[np.bool_], n: int) -> MemoryState:
        """Return the memory's state as tensors, with zeros where an episode starts.

        :param state: State returned by ``decide``; None for the start of all episodes.
        :param n: Number of rows if ``state`` is None.
        """
        if state is None:
            return self.memory.initial_state(n)
        keep = self._tensor(~episode_start).unsqueeze(-1)
        h, c = (self._tensor(part) * keep for part in state)
        return h, c

    @th.no_grad()
    def _act(
        self,
        parameters: th.Tensor,
        observations: Array,
        state: State | None,
        episode_start: NDArray[np.bool_],
        deterministic: bool,
    ) -> tuple[Array, State]:
        z = self.latents(observations, deterministic)
        before = self.memory_state(state, episode_start, len(z))
        actions = self.control(parameters, self.features(z, before))
        h, c = self.remember(z, actions, before)
        return actions, (h.cpu().numpy(), c.cpu().numpy())

    def _tensor(self, array: Array) -> th.Tensor:
        return th.as_tensor(array, dtype=th.float32, device=self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return dict(self.constructor_arguments)
