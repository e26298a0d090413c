"""The implicit actor: a sampler of actions, their moments, and its deterministic action."""

import math
from typing import Any, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from ardae_rl.common.activations import FastTanh, activation_class
from ardae_rl.common.checks import check_choice, check_count, check_finite, check_min, check_widths
from ardae_rl.common.compiled import normal_like
from ardae_rl.common.cpu import chunk_length
from ardae_rl.common.policies import SquashedActor, record_arguments
from ardae_rl.sac_ardae.modes import most_probable
from ardae_rl.sac_ardae.moments import HermiteRule, Moments, hermite_rule, one_layer_moments
from ardae_rl.sac_ardae.whitening import (
    FRAMES,
    WHITENING_FRAMES,
    AffineFrame,
    sigma_point_moments,
    sigma_points,
    whitening_frame,
)

_OUTPUT_NOISE = 0.3
# Number of sampled actions from which the deterministic one is chosen
_N_CANDIDATES = 128
_HIDDEN_UNITS = 64  # of a generator whose width no argument determines
# Expansion order and number of quadrature nodes of the whitening frames. Every gradient step computes the frames, so
# they must be cheap; the estimator learns the remaining error
_FRAME_ORDER, _FRAME_NODES = 1, 8
# With a location path: initial learning rate of the generator, relative to that of the rest of the actor, and number of
# updates after which the excess over 1 has halved. A policy's shape must change more than its location, because sharp
# or separate modes need large weights; later, the estimator can track a slower policy more closely
_GENERATOR_RATE, _HALFWAY = 3.0, 10_000


class ImplicitActor(SquashedActor):
    """A sampler without a closed-form density, x = g(ε, s) + c L(s) ε' before tanh, g = location(s) + generator(ε, s).

    The state is embedded once for all noise vectors. The embedding shifts the hidden units that the noise enters, and
    multiplies the noise's contribution to them by a gain between 0 and 2. So the spread can depend on the state as
    directly as the location; without an upper bound, the gain grows until most units are saturated. The location is an
    ordinary MLP of the state, like the mean of SAC's policy, and extrapolates like it.

    L(s) is the Cholesky factor of the covariance of g(ε, s), so c, the ``output_noise``, is relative to the policy's
    own spread. It bounds how sharp the density can be, and makes its score learnable without bias, by denoising ε' (see
    :func:`~ardae_rl.score.own_noise_loss`). With c = 0, the policy is the paper's a = tanh g(ε, s).

    The deterministic action is the mean for a policy with one mode, and close to the most probable mode for a policy
    with several (:func:`~ardae_rl.sac_ardae.modes.most_probable`). Without a whitening frame, it is the paper's
    tanh g(0, s).

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param net_arch: Widths of the hidden layers. The first ``n_encoder_layers`` see the state alone. With an empty
        list, the location is linear in the features.
    :param features_extractor: Network that extracts features from observations.
    :param features_dim: Number of features.
    :param noise_dim: Dimension of ε, at least that of the action. None chooses max(10, action_dim + 4).
    :param n_encoder_layers: Number of layers before the noise enters. None chooses half of them, rounded down.
    :param generator_arch: Widths of the hidden layers of the generator. None chooses those of ``net_arch`` after the
        encoder, divided by four if there is a location path; if ``net_arch`` is empty, one layer of 64 units.
    :param activation_fn: Activation function of encoder and location: a class, or a name such as "elu".
    :param generator_activation_fn: Activation function of the generator. It should be smooth, because kinks become
        steps in the density, and bounded, because sharp and separate modes then need only moderate weights.
    :param location_path: Whether the location is added. Without it, the policy is the generator alone, as in the paper.
    :param frame: Coordinates in which the estimator sees the actions before tanh: "moments" (whitened by the mean and
        covariance of g: in closed form for a generator with one hidden layer, up to a short expansion whose error the
        estimator learns; from sigma points for a deeper one), "sigma_points" (whitened by sigma points in any case),
        "center" (relative to g(0, s), as in the paper) or "none".
    :param output_noise: c, the standard deviation of the output noise relative to that of g. None chooses 0.3 for a
        frame that whitens. It must be 0 for other frames, for which None chooses 0.
    :param n_bases: Number of orthonormal bases of sigma points. More of them whiten a nonlinear policy better, and take
        longer.
    :param normalize_images: Whether to divide images by 255.
    :raises ValueError: If ``noise_dim`` is below the action dimension, no layer is left for the noise, or another
        argument is out of its range.
    """

    sigma_points: th.Tensor
    candidate_noise: th.Tensor
    frame_nodes: th.Tensor
    frame_projection: th.Tensor
    frame_weights: th.Tensor

    @record_arguments
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
        activation_fn: str | type[nn.Module] = nn.ReLU,
        generator_activation_fn: str | type[nn.Module] = FastTanh,
        location_path: bool = True,
        frame: str = "moments",
        output_noise: float | None = None,
        n_bases: int = 1,
        normalize_images: bool = True,
    ):
        super().__init__(observation_space, action_space, features_extractor, normalize_images)
        if noise_dim is None:
            noise_dim = max(10, self.action_dim + 4)
        check_count("noise_dim", noise_dim)
        if noise_dim < self.action_dim:
            raise ValueError(f"`noise_dim` must be >= {self.action_dim}, the action dimension, got {noise_dim}")
        encoder_arch, location_arch, generator_arch = _architecture(
            net_arch, n_encoder_layers, generator_arch, location_path
        )
        self.frame_kind, self.output_noise = frame, _output_noise(frame, output_noise)
        check_count("n_bases", n_bases)
        activation_fn = activation_class("actor_activation_fn", activation_fn)
        generator_activation_fn = activation_class("generator_activation_fn", generator_activation_fn)
        self.features_dim, self.noise_dim = features_dim, noise_dim
        self.location_path = location_path
        self._make_state_networks(encoder_arch, location_arch, generator_arch[0], activation_fn)
        self._make_generator(generator_arch, generator_activation_fn, n_bases)
        self.has_closed_form = len(generator_arch) == 1 and frame != "sigma_points"
        self.n_sigma_points = 2 * noise_dim * n_bases
        for name, tensor in hermite_rule(_FRAME_ORDER, _FRAME_NODES)._asdict().items():
            self.register_buffer(f"frame_{name}", tensor, persistent=False)
        # The same in every actor, so that the deterministic action depends on the weights alone
        generator = th.Generator().manual_seed(0)
        candidates = th.randn(_N_CANDIDATES, noise_dim, generator=generator)
        self.register_buffer("candidate_noise", candidates, persistent=False)

    def _make_state_networks(
        self, encoder_arch: list[int], location_arch: list[int], width: int, activation_fn: type[nn.Module]
    ) -> None:
        """Make the networks of the state; the noise enters ``width`` units."""
        self.encoder = nn.Sequential(*create_mlp(self.features_dim, -1, encoder_arch, activation_fn))
        encoding_dim = [self.features_dim, *encoder_arch][-1]
        # Shift, gain and the location's first hidden layer: one matrix product instead of three
        n_hidden = [*location_arch, self.action_dim][0] if self.location_path else 0
        self.state_layer = nn.Linear(encoding_dim, 2 * width + n_hidden)
        if self.location_path:
            layers = create_mlp(n_hidden, self.action_dim, location_arch[1:], activation_fn)
            self.location = nn.Sequential(activation_fn(), *layers) if location_arch else nn.Sequential()

    def _make_generator(self, generator_arch: list[int], activation_fn: type[nn.Module], n_bases: int) -> None:
        """Make the networks of the noise, and the noise at which their moments are taken."""
        width = generator_arch[0]
        self.noise_layer = nn.Linear(self.noise_dim, width, bias=False)
        nn.init.normal_(self.noise_layer.weight, std=1 / math.sqrt(self.noise_dim))
        self.register_buffer("sigma_points", sigma_points(self.noise_dim, n_bases))
        layers = create_mlp(width, self.action_dim, generator_arch[1:], activation_fn)
        self.generator = nn.Sequential(activation_fn(), *layers)
        output_layer = self.generator[-1]
        assert isinstance(output_layer, nn.Linear)
        # Broad initial actions (a standard deviation of about 0.6 before tanh), few of them saturated
        nn.init.normal_(output_layer.weight, std=1 / math.sqrt(output_layer.in_features))

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the parameters in groups for an optimizer. With a location path, the generator has a group of its own.

        :param learning_rate: Learning rate of the actor.
        """
        if not self.location_path:
            return [{"params": list(self.parameters()), "lr": learning_rate}]
        generator = [*self.noise_layer.parameters(), *self.generator.parameters()]
        others = [p for p in self.parameters() if not any(p is q for q in generator)]
        fast = {"params": generator, "lr": _GENERATOR_RATE * learning_rate, "lr_scale": _GENERATOR_RATE}
        return [{"params": others, "lr": learning_rate}, fast]

    def slow_down(self, optimizer: th.optim.Optimizer, n_updates: int) -> None:
        """Set the factor in the generator's learning rate, which falls from 3 to 1.

        :param optimizer: Optimizer of the groups from :meth:`parameter_groups`.
        :param n_updates: Number of updates of the actor so far.
        """
        for group in optimizer.param_groups:
            if self.location_path and group["params"][0] is self.noise_layer.weight:
                group["lr_scale"] = 1 + (_GENERATOR_RATE - 1) / (1 + n_updates / _HALFWAY)

    def encode(self, features: th.Tensor) -> th.Tensor:
        """Return embeddings of the states, shape (batch, 2 width + dim): shift and gain for the noise, location."""
        shift, gain, hidden = self._split(self.state_layer(self.encoder(features)))
        parts = [shift, 2 * th.sigmoid(2 * gain)]  # 1 + tanh(gain)
        if self.location_path:
            parts.append(self.location(hidden))
        return th.cat(parts, dim=-1)

    def embed(self, obs: PyTorchObs) -> th.Tensor:
        """Return :meth:`encode` of the features of observations."""
        return self.encode(self.extract_features(obs, self.features_extractor))

    def generate(self, embedding: th.Tensor, noise: th.Tensor) -> th.Tensor:
        """Return g(ε, s), the actions before tanh, shape (batch, n, action_dim).

        :param embedding: Embedding of the states from :meth:`encode`.
        :param noise: ε, shape (batch, n, noise_dim), or (1, n, noise_dim) for the same noise in all states.
        """
        return self._generate(embedding, self.noise_layer(noise))

    def _generate(self, embedding: th.Tensor, projected_noise: th.Tensor) -> th.Tensor:
        shift, gain, location = self._split(embedding.unsqueeze(1))
        generated = self.generator(th.addcmul(shift, gain, projected_noise))
        return generated + location if self.location_path else generated

    def _split(self, embedding: th.Tensor) -> tuple[th.Tensor, ...]:
        """Split an embedding into shift and gain of the units that the noise enters, and the rest."""
        width = self.noise_layer.out_features
        return embedding.split((width, width, embedding.shape[-1] - 2 * width), dim=-1)

    def sample_noise(self, embedding: th.Tensor, n_samples: int = 1) -> th.Tensor:
        """Sample ε ~ N(0, I), shape (batch, n_samples, noise_dim)."""
        return th.randn(len(embedding), n_samples, self.noise_dim, device=embedding.device, dtype=embedding.dtype)

    def center(self, embedding: th.Tensor) -> th.Tensor:
        """Return g(0, s), shape (batch, 1, action_dim): the paper's deterministic action before tanh."""
        return self.generate(embedding, embedding.new_zeros(len(embedding), 1, self.noise_dim))

    def generate_at_sigma_points(self, embedding: th.Tensor) -> th.Tensor:
        """Return g at the sigma points of the noise, shape (batch, 2 noise_dim n_bases, action_dim)."""
        projected = self.noise_layer(self.sigma_points.unsqueeze(0))
        n_states = chunk_length(len(self.sigma_points), len(embedding), embedding.device)
        return th.cat([self._generate(part, projected) for part in embedding.split(n_states)])

    @th.no_grad()
    def moments(self, embedding: th.Tensor) -> Moments:
        """Return mean and covariance of g(ε, s): in closed form for a generator with one hidden layer.

        For deeper generators, and with ``frame="sigma_points"``, they come from the sigma points and are approximate.

        :param embedding: Embedding of the states from :meth:`encode`.
        """
        if not self.has_closed_form:
            return sigma_point_moments(self.generate_at_sigma_points(embedding))
        return self._closed_form(embedding, HermiteRule(*(tensor.to(embedding) for tensor in hermite_rule())))

    def _closed_form(self, embedding: th.Tensor, rule: HermiteRule) -> Moments:
        shift, gain, location = self._split(embedding)
        activation, output_layer = self.generator[0], cast(nn.Linear, self.generator[-1])
        weight, bias = output_layer.weight, output_layer.bias
        moments = one_layer_moments(shift, gain, self.noise_layer.weight, weight, bias, activation, rule)
        return Moments(moments.mean + location, moments.covariance) if self.location_path else moments

    @th.no_grad()
    def frame(self, embedding: th.Tensor) -> AffineFrame:
        """Return the coordinates in which the estimator sees the actions before tanh.

        :param embedding: Embedding of the states from :meth:`encode`.
        """
        if self.frame_kind == "none":
            return AffineFrame(embedding.new_zeros(len(embedding), 1, 1))
        if self.frame_kind == "center":
            return AffineFrame(self.center(embedding))
        if self.has_closed_form:
            rule = HermiteRule(self.frame_nodes, self.frame_projection, self.frame_weights)
            return whitening_frame(self._closed_form(embedding, rule))
        return whitening_frame(self.moments(embedding))

    def add_output_noise(self, outputs: th.Tensor, frame: AffineFrame) -> th.Tensor:
        """Return g(ε, s) + c L(s) ε' for g(ε, s) of shape (batch, n, action_dim) and the frame of the states."""
        if self.output_noise == 0:
            return outputs
        assert frame.factor is not None
        return th.baddbmm(outputs, normal_like(outputs), frame.factor.mT, alpha=self.output_noise)

    def sample(self, embedding: th.Tensor, n_samples: int = 1, frame: AffineFrame | None = None) -> th.Tensor:
        """Sample actions before tanh, shape (batch, n_samples, action_dim).

        :param embedding: Embedding of the states from :meth:`encode`.
        :param n_samples: Number of actions in each state.
        :param frame: The frame of the states, if it is known already.
        """
        outputs = self.generate(embedding, self.sample_noise(embedding, n_samples))
        if self.output_noise == 0:
            return outputs
        return self.add_output_noise(outputs, self.frame(embedding) if frame is None else frame)

    @th.no_grad()
    def deterministic(self, embedding: th.Tensor) -> th.Tensor:
        """Return the deterministic action before tanh, shape (batch, action_dim)."""
        if self.frame_kind not in WHITENING_FRAMES:
            return self.center(embedding).squeeze(1)
        n_states = chunk_length(_N_CANDIDATES, len(embedding), embedding.device)
        return th.cat([self._most_probable(part) for part in embedding.split(n_states)])

    def _most_probable(self, embedding: th.Tensor) -> th.Tensor:
        frame = self.frame(embedding)
        candidates = frame.to_local(self.generate(embedding, self.candidate_noise.unsqueeze(0)))
        return frame.from_local(most_probable(candidates, self.output_noise).unsqueeze(1)).squeeze(1)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Return actions in [-1, 1], shape (batch, action_dim)."""
        embedding = self.embed(obs)
        return th.tanh(self.deterministic(embedding) if deterministic else self.sample(embedding).squeeze(1))


def _architecture(
    net_arch: list[int], n_encoder_layers: int | None, generator_arch: list[int] | None, location_path: bool
) -> tuple[list[int], list[int], list[int]]:
    """Return the widths of encoder, location and generator."""
    if n_encoder_layers is None:
        n_encoder_layers = len(net_arch) // 2
    check_count("n_encoder_layers", n_encoder_layers, 0)
    most_layers = max(len(net_arch) - 1, 0)
    if n_encoder_layers > most_layers:
        raise ValueError(
            f"`n_encoder_layers` must be between 0 and {most_layers}, to leave a layer of {net_arch} for the noise, "
            f"got {n_encoder_layers}"
        )
    location_arch = net_arch[n_encoder_layers:]
    if generator_arch is None:
        generator_arch = [max(width // 4, 1) for width in location_arch] if location_path else location_arch
        generator_arch = generator_arch or [_HIDDEN_UNITS]
    if not generator_arch:
        raise ValueError(f"`generator_arch` must have at least one width, got {generator_arch!r}")
    check_widths("generator_arch", generator_arch)
    return net_arch[:n_encoder_layers], location_arch, generator_arch


def _output_noise(frame: str, output_noise: float | None) -> float:
    """Return the output noise that belongs to a frame, after checks of both."""
    check_choice("frame", frame, FRAMES)
    if output_noise is None:
        output_noise = _OUTPUT_NOISE if frame in WHITENING_FRAMES else 0.0
    check_min("output_noise", output_noise, 0)
    check_finite("output_noise", output_noise)
    if output_noise > 0 and frame not in WHITENING_FRAMES:
        raise ValueError(f"`output_noise` must be 0 with frame={frame!r}, got {output_noise!r}")
    return output_noise
