"""The implicit actor a = tanh g(ε, s), and the policies that hold it with the critics and the score estimator."""

import math
from typing import Any, ClassVar, NamedTuple

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.squashed import log_half_range, log_tanh_slope, pre_tanh_actions
from ardae_rl.sac_ardae.activations import LogisticTanh, activation_class
from ardae_rl.sac_ardae.whitening import FRAMES, Frame, sigma_point_frame, sigma_points
from ardae_rl.score import ARDAE

_STATES_IN_CACHE = 64


class ImplicitActor(BasePolicy):
    """A sampler without a density: g(ε, s) = location(s) + generator(ε, s), before tanh.

    The state is encoded once for all noise vectors. Its code shifts the units where the noise joins and multiplies
    the noise's share of them by a gain between 0 and 2, so that the spread can depend on the state as directly as the
    location; without the bound the gain grows until most units are saturated. The location is an ordinary
    perceptron of the state, as the mean of SAC's policy is, and extrapolates as that does.

    :param net_arch: widths of the hidden layers; the first ``n_encoder_layers`` see the state alone
    :param features_extractor: network that extracts the features
    :param features_dim: number of features
    :param noise_dim: dimension of ε, at least that of the action; by default max(10, action_dim + 4)
    :param n_encoder_layers: number of layers before the noise joins; by default half of them, rounded down
    :param generator_arch: widths of the hidden layers that the noise goes through; by default those of ``net_arch``
        after the encoder, halved where there is a location path
    :param activation_fn: activation function of the encoder
    :param generator_activation_fn: activation function from where the noise joins. Smooth, because kinks would be
        steps in the density; bounded, because sharp and separate modes then come with moderate weights
    :param location_path: whether there is a location of its own, or the generator alone
    :param n_bases: orthonormal bases of sigma points
    :param normalize_images: whether to divide images by 255
    :raises ValueError: if ``noise_dim`` is below the action dimension or there is no layer for the noise
    """

    action_space: spaces.Box
    sigma_points: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        noise_dim: int | None = None,
        n_encoder_layers: int | None = None,
        generator_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ELU,
        generator_activation_fn: type[nn.Module] = LogisticTanh,
        location_path: bool = True,
        n_bases: int = 1,
        normalize_images: bool = True,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self.action_dim = get_action_dim(action_space)
        if noise_dim is None:
            noise_dim = max(10, self.action_dim + 4)
        if noise_dim < self.action_dim:
            raise ValueError(f"`noise_dim` must be >= {self.action_dim}, the action dimension, got {noise_dim}")
        if n_encoder_layers is None:
            n_encoder_layers = len(net_arch) // 2
        if not 0 <= n_encoder_layers < len(net_arch):
            raise ValueError(
                f"`n_encoder_layers` must be between 0 and {len(net_arch) - 1}, to leave a layer of {net_arch} for the "
                f"noise, got {n_encoder_layers}"
            )
        encoder_arch, location_arch = net_arch[:n_encoder_layers], net_arch[n_encoder_layers:]
        if generator_arch is None:
            generator_arch = [max(width // 2, 1) for width in location_arch] if location_path else location_arch
        if not generator_arch:
            raise ValueError(f"`generator_arch` must have at least one width, got {generator_arch!r}")
        self.net_arch = net_arch
        self.features_dim = features_dim
        self.noise_dim = noise_dim
        self.n_encoder_layers = n_encoder_layers
        self.generator_arch = generator_arch
        self.activation_fn = activation_fn
        self.generator_activation_fn = generator_activation_fn
        self.location_path = location_path
        check_count("n_bases", n_bases)
        self.n_bases = n_bases

        self.encoder = nn.Sequential(*create_mlp(features_dim, -1, encoder_arch, activation_fn))
        encoding_dim, width = [features_dim, *encoder_arch][-1], generator_arch[0]
        # Shift, gain and the location's first hidden layer: one matrix product instead of three
        n_hidden = location_arch[0] if location_path else 0
        self.state_layer = nn.Linear(encoding_dim, 2 * width + n_hidden)
        if location_path:
            self.location = nn.Sequential(
                activation_fn(), *create_mlp(n_hidden, self.action_dim, location_arch[1:], activation_fn)
            )
        self.noise_layer = nn.Linear(noise_dim, width, bias=False)
        nn.init.normal_(self.noise_layer.weight, std=1 / math.sqrt(noise_dim))
        self.register_buffer("sigma_points", sigma_points(noise_dim, n_bases))
        self.generator = nn.Sequential(
            generator_activation_fn(),
            *create_mlp(width, self.action_dim, generator_arch[1:], generator_activation_fn),
        )
        output_layer = self.generator[-1]
        assert isinstance(output_layer, nn.Linear)
        # Broad actions at the start (a standard deviation of about 0.6 before tanh), hardly any of them saturated
        nn.init.normal_(output_layer.weight, std=1 / math.sqrt(output_layer.in_features))

    def encode(self, features: th.Tensor) -> th.Tensor:
        """All that depends on the state: shift and gain of the joining layer, location; (batch, 2 width + dim)."""
        shift, gain, hidden = self._split(self.state_layer(self.encoder(features)))
        parts = [shift, 2 * th.sigmoid(2 * gain)]  # 1 + tanh(gain)
        if self.location_path:
            parts.append(self.location(hidden))
        return th.cat(parts, dim=-1)

    def generate(self, code: th.Tensor, noise: th.Tensor) -> th.Tensor:
        """g(ε, s), before tanh.

        :param code: from :meth:`encode`
        :param noise: ε, (batch, n, noise_dim), or (1, n, noise_dim) for the same at all states
        :return: (batch, n, action_dim)
        """
        return self._generate(code, self.noise_layer(noise))

    def _generate(self, code: th.Tensor, projected_noise: th.Tensor) -> th.Tensor:
        shift, gain, location = self._split(code.unsqueeze(1))
        generated = self.generator(th.addcmul(shift, gain, projected_noise))
        return generated + location if self.location_path else generated

    def _split(self, code: th.Tensor) -> tuple[th.Tensor, ...]:
        """Shift and gain of the joining layer's units, and what follows."""
        width = self.noise_layer.out_features
        return code.split((width, width, code.shape[-1] - 2 * width), dim=-1)

    def sample_noise(self, code: th.Tensor, n_samples: int = 1) -> th.Tensor:
        """ε ~ N(0, I), (batch, n_samples, noise_dim)."""
        return th.randn(len(code), n_samples, self.noise_dim, device=code.device, dtype=code.dtype)

    def centre(self, code: th.Tensor) -> th.Tensor:
        """g(0, s), (batch, 1, action_dim): the deterministic action before tanh."""
        return self.generate(code, code.new_zeros(len(code), 1, self.noise_dim))

    def at_sigma_points(self, code: th.Tensor) -> th.Tensor:
        """g at the sigma points of the noise, (batch, 2 noise_dim n_bases, action_dim)."""
        projected = self.noise_layer(self.sigma_points.unsqueeze(0))
        # On a CPU in parts that stay in its cache: the hidden units are batch x points x width numbers
        n_states = _STATES_IN_CACHE if code.device.type == "cpu" and not th.compiler.is_compiling() else len(code)
        return th.cat([self._generate(part, projected) for part in code.split(n_states)])

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Actions in [-1, 1], (batch, action_dim); tanh g(0, s) if deterministic."""
        code = self.encode(self.extract_features(obs, self.features_extractor))
        pre_tanh = self.centre(code) if deterministic else self.generate(code, self.sample_noise(code))
        return th.tanh(pre_tanh.squeeze(1))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            features_extractor=self.features_extractor,
            features_dim=self.features_dim,
            noise_dim=self.noise_dim,
            n_encoder_layers=self.n_encoder_layers,
            generator_arch=self.generator_arch,
            activation_fn=self.activation_fn,
            generator_activation_fn=self.generator_activation_fn,
            location_path=self.location_path,
            n_bases=self.n_bases,
        )
        return data


class EncodedStates(NamedTuple):
    """What all parts of a gradient step need of their states."""

    observations: PyTorchObs
    features: th.Tensor  # batch x features_dim
    code: th.Tensor  # of the actor
    frame: Frame


class SACARDAEPolicy(SACPolicy):
    """Implicit actor, critics and score estimator.

    Deterministic actions are :meth:`most_probable` where the frame is "sigma_points" and the estimator has a density,
    else tanh g(0, s), the paper's.

    :param observation_space: observation space
    :param action_space: action space
    :param lr_schedule: learning rate schedule of actor and critics
    :param net_arch: hidden layers of actor and critics, or ``dict(pi=[...], qf=[...])``
    :param activation_fn: Activation function of the critics: a class, or a name such as "relu".
    :param actor_activation_fn: Activation function of the actor's state encoder.
    :param generator_activation_fn: Activation function of the actor's layers after the noise joins.
    :param location_path: whether a perceptron of the state alone is added to what the noise goes through
    :param noise_dim: dimension of the policy's noise; by default max(10, action_dim + 4)
    :param n_encoder_layers: how many of the actor's layers see the state alone, before the noise joins; by default
        half of them, rounded down
    :param generator_arch: widths of the actor's hidden layers that the noise goes through; by default those of
        ``net_arch`` after the encoder, halved where there is a location path
    :param n_bases: orthonormal bases of sigma points; more of them standardise a bent policy better, and take longer
    :param frame: coordinates in which the estimator sees pre-tanh actions: "sigma_points" (standardised by the
        policy's own sigma points), "centre" (less g(0, s), the paper's) or "none"
    :param score_kwargs: Arguments of the score estimator :class:`~ardae_rl.score.ARDAE`, such as ``loss`` or
        ``learning_rate``, which may be a schedule here. Three defaults differ from the estimator's own:
        ``learning_rate`` is 3e-3, ``averaging`` is 5, and ``standardise`` is False if ``frame`` is "sigma_points".
    :param features_extractor_class: features extractor; None for the policy's own kind
    :param features_extractor_kwargs: its arguments
    :param normalize_images: whether to divide images by 255
    :param optimizer_class: optimizer of actor and critics
    :param optimizer_kwargs: its arguments, without the learning rate; by default Adam runs as one fused kernel
    :param n_critics: number of critics
    :param share_features_extractor: whether the critics use the actor's features extractor
    """

    default_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    actor: ImplicitActor  # type: ignore[assignment]
    estimator: ARDAE

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: str | type[nn.Module] = nn.ReLU,
        actor_activation_fn: str | type[nn.Module] = nn.ELU,
        generator_activation_fn: str | type[nn.Module] = LogisticTanh,
        location_path: bool = True,
        noise_dim: int | None = None,
        n_encoder_layers: int | None = None,
        generator_arch: list[int] | None = None,
        n_bases: int = 1,
        frame: str = "sigma_points",
        score_kwargs: dict[str, Any] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
    ):
        check_choice("frame", frame, FRAMES)
        # Before the base class builds the networks
        self.implicit_kwargs = {
            "noise_dim": noise_dim,
            "n_encoder_layers": n_encoder_layers,
            "generator_arch": generator_arch,
            "activation_fn": activation_class("actor_activation_fn", actor_activation_fn),
            "generator_activation_fn": activation_class("generator_activation_fn", generator_activation_fn),
            "location_path": location_path,
            "n_bases": n_bases,
        }
        self.frame_kind = frame
        if optimizer_kwargs is None and optimizer_class is th.optim.Adam:
            optimizer_kwargs = {"fused": True}  # one kernel instead of a dozen for each parameter
        # A short average, because policy and estimator chase each other over whatever delay it causes. And the sigma
        # points have standardized the actions already
        defaults = {"averaging": 5, "learning_rate": 3e-3, "standardise": frame != "sigma_points"}
        self.score_kwargs = defaults | (score_kwargs or {})
        self.score_lr_schedule = FloatSchedule(self.score_kwargs["learning_rate"])
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=net_arch,
            activation_fn=activation_class("activation_fn", activation_fn),
            features_extractor_class=features_extractor_class or self.default_features_extractor,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            n_critics=n_critics,
            share_features_extractor=share_features_extractor,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        score_kwargs = self.score_kwargs | {"learning_rate": self.score_lr_schedule(1)}
        self.estimator = ARDAE(self.actor.action_dim, self.actor.features_dim, **score_kwargs).to(self.device)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> ImplicitActor:  # type: ignore[override]
        kwargs = self._update_features_extractor(self.net_args | self.implicit_kwargs, features_extractor)
        return ImplicitActor(**kwargs).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in ("use_sde", "log_std_init", "use_expln", "clip_mean"):
            del data[name]
        data.update(
            actor_activation_fn=self.implicit_kwargs["activation_fn"],
            generator_activation_fn=self.implicit_kwargs["generator_activation_fn"],
            location_path=self.implicit_kwargs["location_path"],
            noise_dim=self.implicit_kwargs["noise_dim"],
            n_encoder_layers=self.implicit_kwargs["n_encoder_layers"],
            generator_arch=self.implicit_kwargs["generator_arch"],
            n_bases=self.implicit_kwargs["n_bases"],
            frame=self.frame_kind,
            score_kwargs=self.score_kwargs | {"learning_rate": self.score_lr_schedule(1)},  # schedules are not saved
            share_features_extractor=self.share_features_extractor,
        )
        return data

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        if deterministic and self.frame_kind == "sigma_points" and self.estimator.log_partition is not None:
            return self.most_probable(observation)
        return self.actor(observation, deterministic)

    @th.no_grad()
    def most_probable(self, obs: PyTorchObs) -> th.Tensor:
        """Of the policy's mean and its actions at the sigma points, the one of highest density before tanh.

        A single-mode policy gives about its mean, as SAC's does, and a policy of several modes one of them. (The
        mean would lie between them, and g(0, s) is in no way typical of the policy.)

        :param obs: observations as ``obs_to_tensor`` gives them
        :return: actions in [-1, 1], (batch, action_dim)
        """
        features = self.actor.extract_features(obs, self.actor.features_extractor)
        outputs = self.actor.at_sigma_points(self.actor.encode(features))
        frame = sigma_point_frame(outputs)
        candidates = th.cat([frame.origin, outputs], dim=1)
        best = self.estimator.log_prob(frame.to_local(candidates), features).argmax(1)
        return th.tanh(candidates[th.arange(len(candidates), device=best.device), best])

    def encode_states(self, obs: PyTorchObs) -> EncodedStates:
        """The actor's features and code of the states, with gradient, and their frame.

        :param obs: observations as ``obs_to_tensor`` gives them
        """
        features = self.actor.extract_features(obs, self.actor.features_extractor)
        code = self.actor.encode(features)
        return EncodedStates(obs, features, code, self.frame(code))

    # Densities. Before tanh the estimator knows them; log_tanh_slope and the action range do the rest.

    @th.no_grad()
    def frame(self, code: th.Tensor) -> Frame:
        """The frame of each state in which the estimator sees the pre-tanh actions.

        :param code: the actor's code of the states
        """
        if self.frame_kind == "none":
            return Frame(code.new_zeros(len(code), 1, 1))
        if self.frame_kind == "centre":
            return Frame(self.actor.centre(code))
        return sigma_point_frame(self.actor.at_sigma_points(code))

    @th.no_grad()
    def pre_tanh_log_prob(self, pre_tanh: th.Tensor, frame: Frame, features: th.Tensor) -> th.Tensor:
        """ln of the density of the squashed actions in [-1, 1], at pre-tanh actions (batch, n, dim); (batch, n)."""
        local = self.estimator.log_prob(frame.to_local(pre_tanh), features)
        return local - frame.log_det() - log_tanh_slope(pre_tanh)

    @th.no_grad()
    def pre_tanh_score(
        self, pre_tanh: th.Tensor, frame: Frame, features: th.Tensor, density: bool = True
    ) -> tuple[th.Tensor, th.Tensor | None]:
        """The gradient of :meth:`pre_tanh_log_prob`, and its value if asked for."""
        x = frame.to_local(pre_tanh)
        log_prob = None
        if density:
            local_score, local = self.estimator.score_and_log_prob(x, features)
            log_prob = local - frame.log_det() - log_tanh_slope(pre_tanh)
        else:
            local_score = self.estimator.score(x, features)
        # d/dx of -ln(1 - tanh² x) is 2 tanh x
        return frame.score_from_local(local_score) + 2 * th.tanh(pre_tanh), log_prob

    @th.no_grad()
    def log_prob(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Estimated ln π(a | s) of a trained policy, (batch,).

        :param obs: observations as ``obs_to_tensor`` gives them
        :param actions: in the environment's range, (batch, action_dim); densities are per unit of that range
        :raises ValueError: if the estimator has no density (``log_partition=None``)
        """
        pre_tanh = pre_tanh_actions(actions.to(self.device), self.actor.action_space).unsqueeze(1)
        return self._log_prob_of(self.encode_states(obs), pre_tanh).squeeze(1)

    @th.no_grad()
    def entropy(self, obs: PyTorchObs, n_samples: int = 64) -> th.Tensor:
        """Estimated entropy of π(· | s) in nats, per unit of the environment's action range, (batch,).

        :param obs: observations as ``obs_to_tensor`` gives them
        :param n_samples: number of actions sampled for each observation
        """
        states = self.encode_states(obs)
        pre_tanh = self.actor.generate(states.code, self.actor.sample_noise(states.code, n_samples))
        return -self._log_prob_of(states, pre_tanh).mean(1)

    def _log_prob_of(self, states: EncodedStates, pre_tanh: th.Tensor) -> th.Tensor:
        log_prob = self.pre_tanh_log_prob(pre_tanh, states.frame, states.features)
        return log_prob - log_half_range(self.actor.action_space, self.device)


MlpPolicy = SACARDAEPolicy


class CnnPolicy(SACARDAEPolicy):
    """:class:`SACARDAEPolicy` for images, through SB3's Nature CNN by default."""

    default_features_extractor = NatureCNN


class MultiInputPolicy(SACARDAEPolicy):
    """:class:`SACARDAEPolicy` for dictionary observations, through SB3's combined extractor by default."""

    default_features_extractor = CombinedExtractor
