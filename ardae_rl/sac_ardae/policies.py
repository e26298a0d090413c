"""Policies with an implicit actor, SB3's critics and the score estimator."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import FloatSchedule
from torch import nn

from ardae_rl.common.checks import check_choice
from ardae_rl.common.policies import SquashedPolicy, record_arguments
from ardae_rl.sac_ardae.activations import activation_class
from ardae_rl.sac_ardae.actor import ImplicitActor
from ardae_rl.sac_ardae.density import EncodedStates, pre_tanh_log_prob
from ardae_rl.sac_ardae.moments import Moments
from ardae_rl.sac_ardae.whitening import FRAMES, WHITENING_FRAMES, AffineFrame, sigma_point_moments, whitening_frame
from ardae_rl.score import ARDAE


class SACARDAEPolicy(SquashedPolicy):
    """Implicit actor, critics and score estimator.

    Deterministic actions are those of :meth:`most_probable` if the frame whitens and the estimator has a density,
    otherwise the paper's tanh g(0, s).

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
    :param frame: Coordinates in which the estimator sees the actions before tanh: "sigma_points" (whitened by the
        policy's own sigma points), "moments" (whitened by the policy's mean and covariance, which are exact for a
        generator with one hidden layer), "center" (relative to g(0, s), as in the paper) or "none".
    :param score_kwargs: Arguments of the score estimator :class:`~ardae_rl.score.ARDAE`, such as ``loss`` or
        ``learning_rate``, which may be a schedule here. Three defaults differ from the estimator's own:
        ``learning_rate`` is 3e-3, ``averaging`` is 5, and ``standardize`` is False if the frame whitens.
    :param activation_fn: Activation function of the critics: a class, or a name such as "relu".
    :param actor_activation_fn: Activation function of the actor's encoder and location.
    :param kwargs: Arguments of :class:`~ardae_rl.sac_ardae.actor.ImplicitActor` (``noise_dim``, ``n_encoder_layers``,
        ``generator_arch``, ``generator_activation_fn``, ``location_path``, ``n_bases``) and of SB3's ``SACPolicy``
        (``net_arch``, ``n_critics``, ``share_features_extractor`` and others), and ``critic`` and ``critic_kwargs``
        (:mod:`ardae_rl.common.critics`). By default, Adam runs as one fused kernel.
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
        frame: str = "sigma_points",
        score_kwargs: dict[str, Any] | None = None,
        activation_fn: str | type[nn.Module] = nn.ReLU,
        actor_activation_fn: str | type[nn.Module] = nn.ELU,
        **kwargs: Any,
    ):
        check_choice("frame", frame, FRAMES)
        self.frame_kind = frame
        # A short average, because policy and estimator chase each other over any delay. And the sigma points have
        # standardized the actions already
        defaults = {"averaging": 5, "learning_rate": 3e-3, "standardize": frame not in WHITENING_FRAMES}
        self.score_kwargs = defaults | (score_kwargs or {})
        self.score_lr_schedule = FloatSchedule(self.score_kwargs["learning_rate"])
        self.score_kwargs["learning_rate"] = self.score_lr_schedule(1)
        self.constructor_arguments["score_kwargs"] = self.score_kwargs  # without a schedule, as for lr_schedule
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            activation_fn=activation_class("activation_fn", activation_fn),
            actor_activation_fn=actor_activation_fn,
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.estimator = ARDAE(self.actor.action_dim, self.actor.features_dim, **self.score_kwargs).to(self.device)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        if deterministic and self.frame_kind in WHITENING_FRAMES and self.estimator.has_density:
            return self.most_probable(observation)
        return self.actor(observation, deterministic)

    @th.no_grad()
    def most_probable(self, obs: PyTorchObs) -> th.Tensor:
        """Return the most probable action before tanh out of the policy's mean and its actions at the sigma points.

        For a policy with a single mode, this is about its mean, as for SAC; for a policy with several modes, one of
        them. (The mean of several modes lies between them, and g(0, s) is in no way typical of the policy.)

        :param obs: Observations as returned by ``obs_to_tensor``.
        :return: Actions in [-1, 1], shape (batch, action_dim).
        """
        features = self.actor.extract_features(obs, self.actor.features_extractor)
        embedding = self.actor.encode(features)
        outputs = self.actor.generate_at_sigma_points(embedding)
        moments = self.actor.moments(embedding) if self.frame_kind == "moments" else sigma_point_moments(outputs)
        frame = whitening_frame(moments)
        candidates = th.cat([frame.origin, outputs], dim=1)
        best = self.estimator.log_prob(frame.to_local(candidates), features).argmax(1)
        return th.tanh(candidates[th.arange(len(candidates), device=best.device), best])

    def encode_states(self, obs: PyTorchObs) -> EncodedStates:
        """Return the states' features and embedding, which are differentiable, and their frame.

        :param obs: Observations as returned by ``obs_to_tensor``.
        """
        features = self.actor.extract_features(obs, self.actor.features_extractor)
        embedding = self.actor.encode(features)
        return EncodedStates(obs, features, embedding, self.frame(embedding))

    @th.no_grad()
    def frame(self, embedding: th.Tensor) -> AffineFrame:
        """Return the coordinates in which the estimator sees the actions before tanh.

        :param embedding: The actor's embedding of the states.
        """
        if self.frame_kind == "none":
            return AffineFrame(embedding.new_zeros(len(embedding), 1, 1))
        if self.frame_kind == "center":
            return AffineFrame(self.actor.center(embedding))
        if self.frame_kind == "moments":
            return whitening_frame(self.actor.moments(embedding))
        return whitening_frame(sigma_point_moments(self.actor.generate_at_sigma_points(embedding)))

    @th.no_grad()
    def moments(self, obs: PyTorchObs) -> Moments:
        """Return mean and covariance of the actions before tanh, as :meth:`ImplicitActor.moments` does.

        :param obs: Observations as returned by ``obs_to_tensor``.
        :return: Mean, shape (batch, action_dim), and covariance, shape (batch, action_dim, action_dim).
        """
        return self.actor.moments(self.actor.encode(self.actor.extract_features(obs, self.actor.features_extractor)))

    def squashed_log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        return pre_tanh_log_prob(self.estimator, self.encode_states(obs), pre_tanh.unsqueeze(1)).squeeze(1)

    def sample_log_prob(self, obs: PyTorchObs, n_samples: int) -> th.Tensor:
        states = self.encode_states(obs)
        noise = self.actor.sample_noise(states.embedding, n_samples)
        return pre_tanh_log_prob(self.estimator, states, self.actor.generate(states.embedding, noise))


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
