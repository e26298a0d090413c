"""The policy of World Models: everything between an official frame and an official action."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from ardae_envs.frames import crop_bar, resize
from ardae_rl.common.checks import check_choice
from ardae_rl.world_models.action_map import make_action_map
from ardae_rl.world_models.controller import Controller
from ardae_rl.world_models.frame_policy import FramePolicy, State
from ardae_rl.world_models.implicit_vision import ImplicitConvVAE
from ardae_rl.world_models.memory import MemoryRNN
from ardae_rl.world_models.memory import State as MemoryState
from ardae_rl.world_models.vision import SIZE, ConvVAE

CONTROLLER_INPUTS = ("z", "zh", "zc", "zch")
POSTERIORS = ("gaussian", "implicit")
Array = NDArray[Any]


class WorldModelPolicy(FramePolicy):
    """V, M and C, and what is around them: frames are cropped and made small, outputs made actions.

    :param observation_space: frames of bytes, (height, width, 3)
    :param action_space: Box or Discrete
    :param z_dim: dimension of V's latent
    :param vision_width: channels of V's first layer
    :param posterior: V's: "gaussian", or "implicit" (:class:`~ardae_rl.world_models.implicit_vision.ImplicitConvVAE`)
    :param free_nats: of a Gaussian V's divergence, see :class:`~ardae_rl.world_models.vision.ConvVAE`
    :param memory_hidden: width of M
    :param n_components: of M's mixture
    :param mixture_form: "per_dimension" or "joint"
    :param controller_input: what C sees: latent z, hidden state h, cell state c; "z", "zh", "zc" or "zch"
    :param controller_hidden: widths of C's hidden layers; none for the linear controller of the paper
    :param action_map: "auto", "identity", "steer_and_pedal" or "one_axis", see
        :func:`~ardae_rl.world_models.action_map.make_action_map`
    :param cropped_rows: of the frame from below, which are not seen (12 for CarRacing's bar of indicators)
    :param action_repeat: steps for which an action is held; the frames in between are not looked at
    :raises ValueError: for arguments outside of what is accepted
    """

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
        action_map: str = "auto",
        cropped_rows: int = 0,
        action_repeat: int = 1,
    ) -> None:
        super().__init__(observation_space, action_space, action_repeat)
        shape = observation_space.shape or ()
        if observation_space.dtype != np.uint8 or len(shape) != 3 or shape[-1] != 3:
            raise ValueError(f"observation_space={observation_space}: accepted are frames of bytes (height, width, 3)")
        if not 0 <= cropped_rows < shape[0]:
            raise ValueError(f"cropped_rows={cropped_rows!r}: accepted are 0 to {shape[0] - 1}")
        check_choice("controller_input", controller_input, CONTROLLER_INPUTS)
        self._arguments = {
            "z_dim": z_dim,
            "vision_width": vision_width,
            "posterior": posterior,
            "free_nats": free_nats,
            "memory_hidden": memory_hidden,
            "n_components": n_components,
            "mixture_form": mixture_form,
            "controller_input": controller_input,
            "controller_hidden": tuple(controller_hidden),
            "action_map": action_map,
            "cropped_rows": cropped_rows,
            "action_repeat": action_repeat,
        }
        self.controller_input, self.cropped_rows = controller_input, cropped_rows
        self.action_map = make_action_map(action_map, action_space)
        self.n_features = z_dim + memory_hidden * (len(controller_input) - 1)
        check_choice("posterior", posterior, POSTERIORS)
        self.vision = (
            ConvVAE(z_dim, vision_width, free_nats)
            if posterior == "gaussian"
            else ImplicitConvVAE(z_dim, vision_width, noise_dim=z_dim)
        )
        self.memory = MemoryRNN(z_dim, self.action_map.memory_dim, memory_hidden, n_components, mixture_form)
        self.controller = Controller(self.n_features, self.action_map.n_outputs, controller_hidden)
        self.controller_parameters = nn.Parameter(th.zeros(self.n_parameters), requires_grad=False)

    @property
    def n_parameters(self) -> int:
        """Of the controller."""
        return self.controller.n_parameters

    def see(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What V gets of frames (n, height, width, 3): (n, 64, 64, 3)."""
        return resize(crop_bar(frames, self.cropped_rows), SIZE)

    def act(
        self,
        parameters: Array,
        observations: Array,
        state: State | None,
        episode_start: NDArray[np.bool_],
        deterministic: bool = True,
    ) -> tuple[Array, State]:
        """Actions of n environments whose controllers have parameters of their own.

        :param parameters: (n, n_parameters), or (n_parameters) for the same in all
        :param observations: (n, height, width, 3)
        :param state: of the memory; None for the start of all episodes
        :param episode_start: (n), where the state begins anew
        :param deterministic: whether the latent is the posterior's mean, not a draw
        :return: actions (n, ...), and the state after them
        """
        with th.no_grad():
            z = self.latents(observations, deterministic)
            before = self.memory_state(state, episode_start, len(z))
            actions = self.control(self._tensor(parameters), self.features(z, before))
            h, c = self.remember(z, actions, before)
        return actions, (h.cpu().numpy(), c.cpu().numpy())

    def features(self, z: th.Tensor, state: MemoryState) -> th.Tensor:
        """What the controller sees, (n, n_features), of latents and the memory's state before them."""
        parts = {"z": z, "h": state[0], "c": state[1]}
        return th.cat([parts[name] for name in self.controller_input], -1)

    def control(self, parameters: th.Tensor, features: th.Tensor) -> Array:
        """Actions (n, ...) of controllers."""
        return self.action_map.actions(self.controller(parameters, features).cpu().numpy())

    def remember(self, z: th.Tensor, actions: Array, state: MemoryState) -> MemoryState:
        """The memory's state after latents (n, z_dim) and the actions (n, ...) that were executed at them."""
        return self.memory.step(z, self._tensor(self.action_map.inputs(actions)), state)

    def latents(self, observations: Array, deterministic: bool = True) -> th.Tensor:
        """Of frames (n, height, width, 3): (n, z_dim)."""
        frames = th.as_tensor(self.see(observations), device=self.device)
        return self.vision.encode(frames)[0] if deterministic else self.vision.draw(frames)

    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        parameters = self.controller_parameters.detach().cpu().numpy()
        return self.act(parameters, frames, state, episode_start, deterministic)

    def memory_state(self, state: State | None, episode_start: NDArray[np.bool_], n: int) -> MemoryState:
        """The memory's own of what ``predict`` takes, zero where an episode starts."""
        if state is None:
            return self.memory.initial_state(n)
        keep = self._tensor(~episode_start).unsqueeze(-1)
        h, c = (self._tensor(part) * keep for part in state)
        return h, c

    def _tensor(self, array: Array) -> th.Tensor:
        return th.as_tensor(array, dtype=th.float32, device=self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        spaces_ = {"observation_space": self.observation_space, "action_space": self.action_space}
        return spaces_ | self._arguments
