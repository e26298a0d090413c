"""Policies with an implicit actor, SB3's critics and the score estimator."""

import warnings
from typing import Any, ClassVar, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import FloatSchedule
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.common.policies import SquashedPolicy, check_no_sde, evaluation_mode, record_arguments
from ardae_rl.common.squashed import log_half_range, log_tanh_slope, saturation_excess
from ardae_rl.sac_ardae.actor import ImplicitActor
from ardae_rl.sac_ardae.bounds import EntropyBounds, gaussian_entropy, mixture_log_densities
from ardae_rl.sac_ardae.correction import DensityCorrection
from ardae_rl.sac_ardae.density import EncodedStates, pre_tanh_log_prob
from ardae_rl.sac_ardae.distance import make_distance
from ardae_rl.sac_ardae.moments import Moments
from ardae_rl.sac_ardae.whitening import WHITENING_FRAMES, AffineFrame, whitening_frame
from ardae_rl.score import ARDAE, IMMSE


class SACARDAEPolicy(SquashedPolicy):
    """Implicit actor, critics and score estimator.

    Example:

    >>> from ardae_rl import SACARDAE
    >>> policy_kwargs = {"net_arch": [64, 64], "noise_dim": 5, "score_kwargs": {"loss": "ardae"}}
    >>> model = SACARDAE("MlpPolicy", "Pendulum-v1", policy_kwargs=policy_kwargs)
    >>> obs, _ = model.policy.obs_to_tensor(model.get_env().reset())
    >>> model.policy.entropy(obs).shape
    torch.Size([1])

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule of actor and critics.
    :param score_kwargs: Arguments of the score estimator :class:`~ardae_rl.score.ARDAE`, such as ``loss`` or
        ``learning_rate``, which may be a schedule here. Four defaults differ from the estimator's own:
        ``learning_rate`` is 3e-3, ``averaging`` is 5, ``standardize`` is False if the actor's frame whitens, and
        ``loss`` is "own_noise", with the actor's output noise, if the actor has any and the estimator is
        preconditioned and not normalized by "immse".
    :param entropy: What the policy maximizes besides its value: "score" (the entropy, by the estimator's score) or
        "distance" (:class:`~ardae_rl.sac_ardae.distance.LogDistance`, which needs no estimator: there is no density
        then, ``score_kwargs`` must be empty, and ``output_noise`` is 0 by default).
    :param entropy_kwargs: Arguments of the distance.
    :param activation_fn: Activation function of the critics: a class, or a name such as "relu".
    :param actor_activation_fn: Activation function of the actor's encoder and location.
    :param use_sde: Must be False. It is accepted because SB3's SAC adds it to the ``policy_kwargs`` that it is given.
    :param kwargs: Arguments of :class:`~ardae_rl.sac_ardae.actor.ImplicitActor` (``noise_dim``, ``n_encoder_layers``,
        ``generator_arch``, ``generator_activation_fn``, ``location_path``, ``frame``, ``output_noise``, ``n_bases``)
        and of SB3's ``SACPolicy`` (``net_arch``, ``n_critics``, ``share_features_extractor`` and others), and
        ``critic`` and ``critic_kwargs`` (:mod:`ardae_rl.common.critics`). By default, Adam runs as one fused kernel.
    :raises ValueError: For an argument out of its range.
    """

    default_adam_kwargs: ClassVar[dict[str, Any]] = {"fused": True}
    actor_class = ImplicitActor
    actor: ImplicitActor  # type: ignore[assignment]
    estimator: ARDAE

    @record_arguments
    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        score_kwargs: dict[str, Any] | None = None,
        entropy: str = "score",
        entropy_kwargs: dict[str, Any] | None = None,
        activation_fn: str | type[nn.Module] = nn.ReLU,
        actor_activation_fn: str | type[nn.Module] = nn.ReLU,
        use_sde: bool = False,
        **kwargs: Any,
    ):
        check_no_sde(use_sde)
        self.distance = make_distance(entropy, entropy_kwargs)
        if self.distance is not None:
            if score_kwargs:
                raise ValueError(f"`score_kwargs` must be empty for entropy='distance', got {score_kwargs}")
            kwargs = {"output_noise": 0.0} | kwargs
        else:
            # A short average, because any delay makes policy and estimator chase each other
            self.score_kwargs = {"averaging": 5, "learning_rate": 3e-3} | (score_kwargs or {})
            self.score_lr_schedule = FloatSchedule(self.score_kwargs["learning_rate"])
            self.score_kwargs["learning_rate"] = self.score_lr_schedule(1)
            self.constructor_arguments["score_kwargs"] = self.score_kwargs  # without a schedule, as for lr_schedule
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            activation_fn=activation_fn,
            actor_activation_fn=actor_activation_fn,
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        groups = self.actor.parameter_groups(lr_schedule(1))
        self.actor.optimizer = self.optimizer_class(groups, **self.optimizer_kwargs)
        self.correction: DensityCorrection | None = None
        if self.distance is not None:
            return
        if self.actor.frame_kind == "moments" and not self.actor.has_closed_form:
            warnings.warn(
                "A generator with more than one hidden layer has no closed form for its mean and covariance. They come "
                f"from {self.actor.n_sigma_points} sigma points instead, with which estimated entropies were 0.2 to "
                "0.9 nats too high on MuJoCo tasks. A larger `n_bases` reduces this error.",
                stacklevel=2,
            )
        kwargs = self._estimator_arguments()
        self.estimator = ARDAE(self.actor.action_dim, self.actor.features_dim, **kwargs).to(self.device)
        if self.actor.output_noise > 0 and self.estimator.has_density:
            self.correction = DensityCorrection().to(self.device)

    @property
    def log_prob_offset(self) -> th.Tensor | float:
        """Constant that corrects the estimator's log-densities."""
        return 0.0 if self.correction is None else self.correction.offset

    def _estimator_arguments(self) -> dict[str, Any]:
        """Return the estimator's arguments, including those that follow from the actor's."""
        noise = self.actor.output_noise
        # A frame that whitens has standardized the actions already
        kwargs: dict[str, Any] = {"standardize": self.actor.frame_kind not in WHITENING_FRAMES} | self.score_kwargs
        normalization = kwargs.get("normalization")
        is_immse = normalization == "immse" or isinstance(normalization, IMMSE)
        fixed_noise = noise > 0 and kwargs.get("preconditioned", True) and not is_immse
        kwargs = {"loss": "own_noise" if fixed_noise else "cv"} | kwargs
        if kwargs["loss"] == "own_noise":
            if noise == 0:
                raise ValueError("`output_noise` must be positive with loss='own_noise', got 0")
            if kwargs["standardize"]:
                raise ValueError("`standardize` must be False with loss='own_noise', got True")
            kwargs["noise_kwargs"] = {"scale": noise} | (kwargs.get("noise_kwargs") or {})
            if kwargs["noise_kwargs"]["scale"] != noise:
                scale = kwargs["noise_kwargs"]["scale"]
                raise ValueError(f"`noise_kwargs['scale']` must be {noise}, the `output_noise`, got {scale!r}")
        return kwargs

    def encode_states(self, obs: PyTorchObs) -> EncodedStates:
        """Return the states' features and embedding, which are differentiable, and their frame.

        :param obs: Observations as returned by ``obs_to_tensor``.
        """
        features = self.actor.extract_features(obs, self.actor.features_extractor)
        embedding = self.actor.encode(features)
        needs_frame = self.distance is None or self.actor.output_noise > 0
        frame = self.actor.frame(embedding) if needs_frame else AffineFrame(embedding.new_zeros(len(embedding), 1, 1))
        return EncodedStates(obs, features, embedding, frame)

    @th.no_grad()
    def moments(self, obs: PyTorchObs) -> Moments:
        """Return mean and covariance of the actions before tanh.

        They are in closed form for a generator with one hidden layer, and come from sigma points for a deeper one.

        :param obs: Observations as returned by ``obs_to_tensor``.
        :return: Mean, shape (batch, action_dim), and covariance, shape (batch, action_dim, action_dim).
        """
        with evaluation_mode(self):
            return self._moments(self.actor.embed(obs))

    def _moments(self, embedding: th.Tensor) -> Moments:
        mean, covariance = self.actor.moments(embedding)
        if self.actor.output_noise > 0:
            factor = self.actor.frame(embedding).factor
            assert factor is not None
            covariance = th.baddbmm(covariance, factor, factor.mT, alpha=self.actor.output_noise**2)
        return Moments(mean, covariance)

    def _gaussian_entropy(self, embedding: th.Tensor) -> th.Tensor:
        """Return the entropy of the normal distribution with the moments of the actions before tanh, (batch, 1)."""
        moments = self._moments(embedding)
        if self.actor.output_noise > 0:  # the covariance has full rank
            log_det = 0.5 * th.linalg.slogdet(moments.covariance).logabsdet.unsqueeze(1)
        else:
            log_det = cast(th.Tensor, whitening_frame(moments).log_det())
        return gaussian_entropy(self.actor.action_dim, 1.0) + log_det

    @th.no_grad()
    def mean_entropy_bound(self, obs: PyTorchObs) -> th.Tensor:
        """Return the mean over states of the Gaussian bound on the entropy of actions in [-1, 1], a scalar.

        Saturated actions count as a millionth from their bounds, as in training. One action is sampled in each state.

        :param obs: Observations as returned by ``obs_to_tensor``.
        """
        states = self.encode_states(obs)
        pre_tanh = self.actor.sample(states.embedding, 1, states.frame)
        log_slope = log_tanh_slope(pre_tanh) + saturation_excess(pre_tanh)
        return (self._gaussian_entropy(states.embedding) + log_slope).mean()

    @th.no_grad()
    def entropy_bounds(self, obs: PyTorchObs, n_samples: int = 64) -> EntropyBounds:
        """Return bounds on the entropy of π(· | s) in nats, in the environment's units of action.

        They do not use the estimator, and hold in expectation. The Gaussian bound is approximate: its moments come from
        a truncated expansion, or for a generator with more than one hidden layer from sigma points. Without output
        noise there is no lower bound.

        :param obs: Observations as returned by ``obs_to_tensor``.
        :param n_samples: Number of actions to sample for each observation, at least 2. More bring the lower and the
            upper bound closer. In more than a few dimensions, thousands of them still leave a wide gap.
        """
        check_count("n_samples", n_samples, minimum=2)
        with evaluation_mode(self):
            return self._entropy_bounds(self.actor.embed(obs), n_samples)

    def _entropy_bounds(self, embedding: th.Tensor, n_samples: int) -> EntropyBounds:
        frame = self.actor.frame(embedding)
        outputs = self.actor.generate(embedding, self.actor.sample_noise(embedding, n_samples))
        pre_tanh = self.actor.add_output_noise(outputs, frame)
        # Added to the entropy before tanh, by the change of variables
        offset = log_tanh_slope(pre_tanh).mean(1, keepdim=True) + log_half_range(self.actor.action_space, self.device)
        gaussian = (offset + self._gaussian_entropy(embedding)).squeeze(1)
        noise = self.actor.output_noise
        if noise == 0:
            return EntropyBounds(th.full_like(gaussian, -th.inf), gaussian, gaussian)
        with_own, without_own = mixture_log_densities(frame.to_local(outputs), frame.to_local(pre_tanh), noise)
        offset = (offset + frame.log_det()).squeeze(1)
        return EntropyBounds(offset - with_own.mean(1), offset - without_own.mean(1), gaussian)

    def squashed_log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        self._check_density()
        states = self.encode_states(obs)
        return pre_tanh_log_prob(self.estimator, states, pre_tanh.unsqueeze(1), self.log_prob_offset).squeeze(1)

    def sample_log_prob(self, obs: PyTorchObs, n_samples: int) -> th.Tensor:
        self._check_density()
        states = self.encode_states(obs)
        pre_tanh = self.actor.sample(states.embedding, n_samples, states.frame)
        return pre_tanh_log_prob(self.estimator, states, pre_tanh, self.log_prob_offset)

    def _check_density(self) -> None:
        if self.distance is not None:
            raise ValueError("`entropy` must be 'score' for a density, got 'distance'")


MlpPolicy = SACARDAEPolicy


class CnnPolicy(SACARDAEPolicy):
    """:class:`SACARDAEPolicy` for images, with SB3's Nature CNN by default.

    Example:

    >>> from stable_baselines3.common.envs import FakeImageEnv
    >>> from ardae_rl import SACARDAE
    >>> model = SACARDAE("CnnPolicy", FakeImageEnv(discrete=False), buffer_size=100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    default_features_extractor = NatureCNN


class MultiInputPolicy(SACARDAEPolicy):
    """:class:`SACARDAEPolicy` for dictionary observations, with SB3's combined extractor by default.

    Example:

    >>> from stable_baselines3.common.envs import SimpleMultiObsEnv
    >>> from ardae_rl import SACARDAE
    >>> model = SACARDAE("MultiInputPolicy", SimpleMultiObsEnv(discrete_actions=False), buffer_size=100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    default_features_extractor = CombinedExtractor
