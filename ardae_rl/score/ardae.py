"""The estimator: train it on samples of a moving distribution, query it for scores, log-densities and entropies."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import torch as th
from torch import nn

from ardae_rl.common.checks import (
    check_bool,
    check_choice,
    check_count,
    check_finite,
    check_keys,
    check_min,
    check_positive,
)
from ardae_rl.common.compiled import CompiledFunction
from ardae_rl.common.cpu import cached_chunks
from ardae_rl.score.averages import RunningAverage
from ardae_rl.score.inputs import Numbers, as_numbers, check_context, check_points, check_samples
from ardae_rl.score.models import PreconditionedEnergy, PreconditionedScore, RawEnergy, RawScore, ScoreModel
from ardae_rl.score.networks import NETWORK_ARGUMENTS, ContextEmbedding
from ardae_rl.score.normalizers import IMMSE, Importance, Normalizer, make_normalizer
from ardae_rl.score.objective import LOSSES, NoiseScale, score_terms
from ardae_rl.score.standardize import Coordinates, FixedStandardizer, LearnedStandardizer

PARAMETERIZATIONS = ("energy", "score")


class ARDAE(nn.Module):
    """Amortized residual denoising autoencoder: estimates the score ∇ ln p(x | context) of a sampled distribution.

    Reference: Lim, Courville, Pal and Huang (2020), AR-DAE: Towards unbiased neural entropy gradient estimation,
    https://arxiv.org/abs/2006.05164. The defaults are this package's preconditioned form with the control-variate
    loss; :meth:`paper` gives the paper's. ``state_dict()`` holds the estimator; to continue training, save
    ``optimizer.state_dict()`` as well.

    A preconditioned density is a Gaussian with a correction that is learned where samples are frequent, so its tails
    are Gaussian. For a distribution with heavier tails, the density of outlying samples is too low, and entropies are
    too high.

    Example:

    >>> import torch
    >>> from ardae_rl.score import ARDAE
    >>> estimator = ARDAE(dim=2)
    >>> for _ in range(10):
    ...     metrics = estimator.update(torch.randn(512, 2))  # samples (n, dim)
    >>> x = torch.zeros(3, 2)
    >>> estimator.score(x).shape, estimator.log_prob(x).shape
    (torch.Size([3, 2]), torch.Size([3]))

    :param dim: Dimension of the samples.
    :param context_dim: Dimension of the context that the samples depend on; 0 for none.
    :param parameterization: "energy" (the network is an unnormalized log-density, and the score its gradient) or
        "score" (the network is the score).
    :param loss: "cv" (:func:`~ardae_rl.score.losses.cv_loss`, with a control variate), "ardae" (the paper's), or
        "own_noise" (:func:`~ardae_rl.score.losses.own_noise_loss`): the distribution is then that of the samples plus
        normal noise of a fixed scale, which the estimator adds itself. The default ``noise_kwargs`` are then
        ``distribution="fixed"`` and ``scale=0.3``. It needs preconditioning.
    :param normalization: How ``log_prob`` is normalized: "contrastive" (against a Gaussian, learned with the score),
        "dual" (by the noise-level derivative, learned with the score), "importance" (by sampling at each query, the
        paper's), "immse" (an integral of denoising errors, learned at all noise levels), an object from
        :mod:`~ardae_rl.score.normalizers`, None (scores only), or "auto": "contrastive" for an energy ("importance"
        without preconditioning), None for a score.
    :param preconditioned: Whether a Gaussian is factored out of the density; False for the paper's raw network.
    :param standardize: Whether that Gaussian's location, scale and correlation are learned from the samples. Use False
        if samples have a mean near zero and a covariance near the identity in every context. Ignored without
        preconditioning.
    :param network_kwargs: Arguments of the network: ``hidden``, ``context_hidden``, ``point_hidden``,
        ``context_gain``, ``activation``, ``n_frequencies`` and ``frequency``; see
        :class:`~ardae_rl.score.networks.ConditionalNetwork`.
    :param noise_kwargs: Arguments of the training noise: ``scale``, ``distribution``, ``relative`` and ``n_samples``;
        see :class:`~ardae_rl.score.objective.NoiseScale`.
    :param normalization_kwargs: Arguments of the named normalizer, such as ``score_weight`` or ``n_samples``; see its
        class in :mod:`~ardae_rl.score.normalizers`.
    :param input_scale: s, the factor by which the raw network's inputs are multiplied; used without preconditioning.
    :param learning_rate: Learning rate of Adam.
    :param betas: Coefficients of Adam. The default has little momentum, because the estimator has to track a moving
        distribution.
    :param averaging: Number of updates over which the weights are averaged for queries. The average removes most of
        the training noise from scores and densities, at the price of a delay; 1 uses the latest weights.
    :param max_grad_norm: Maximum norm of the network's gradient; the standardizer's gradient is clipped separately.
    :raises ValueError: If an argument has a value that is not supported, or a dictionary an unknown key.
    :raises TypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int = 0,
        *,
        parameterization: str = "energy",
        loss: str = "cv",
        normalization: str | Normalizer | None = "auto",
        preconditioned: bool = True,
        standardize: bool = True,
        network_kwargs: Mapping[str, Any] | None = None,
        noise_kwargs: Mapping[str, Any] | None = None,
        normalization_kwargs: Mapping[str, Any] | None = None,
        input_scale: float = 1e4,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.999),
        averaging: int = 20,
        max_grad_norm: float = 10.0,
    ):
        super().__init__()
        check_count("dim", dim)
        check_count("context_dim", context_dim, 0)
        check_choice("parameterization", parameterization, PARAMETERIZATIONS)
        check_choice("loss", loss, LOSSES)
        check_bool("preconditioned", preconditioned)
        check_bool("standardize", standardize)
        check_positive("input_scale", input_scale, finite=True)
        check_positive("learning_rate", learning_rate, finite=True)
        check_count("averaging", averaging)
        check_positive("max_grad_norm", max_grad_norm)
        self.dim, self.context_dim = dim, context_dim
        self.parameterization, self.loss = parameterization, loss
        self.normalizer = make_normalizer(normalization, normalization_kwargs, parameterization, preconditioned)
        self.noise = _make_noise(noise_kwargs or {}, preconditioned, loss)
        if isinstance(self.normalizer, IMMSE) and self.noise.distribution == "fixed":
            raise ValueError("`distribution` must be 'normal' with normalization='immse', got 'fixed'")
        self._noise_unit = 1.0 if preconditioned else None if self.noise.relative else input_scale
        self.max_grad_norm = max_grad_norm

        self.model, self.standardizer = self._make_networks(
            network_kwargs or {}, preconditioned, standardize, input_scale
        )
        self.slow_model: ScoreModel | None = None
        if averaging > 1:
            self.slow_model = copy.deepcopy(self.model).requires_grad_(False)
            self.average = RunningAverage(horizon=averaging)
        groups = [{"params": list(self.model.parameters())}]
        if parameters := self.standardizer.trainable_parameters():
            groups.append({"params": parameters})
        self.optimizer = th.optim.Adam(groups, lr=learning_rate, betas=betas, fused=True)

    def _make_networks(
        self, network_kwargs: Mapping[str, Any], preconditioned: bool, standardize: bool, input_scale: float
    ) -> tuple[ScoreModel, LearnedStandardizer | FixedStandardizer]:
        kwargs = dict(network_kwargs)
        check_keys("network_kwargs", kwargs, NETWORK_ARGUMENTS)
        is_energy = self.parameterization == "energy"
        if not preconditioned:
            raw_class = RawEnergy if is_energy else RawScore
            return raw_class(self.dim, self.context_dim, kwargs, input_scale), FixedStandardizer(input_scale)
        model_class = PreconditionedEnergy if is_energy else PreconditionedScore
        model = model_class(self.dim, self.context_dim, kwargs)
        if standardize:
            return model, LearnedStandardizer(self.dim, self.context_dim)
        return model, FixedStandardizer(1.0, self.context_dim)

    @classmethod
    def paper(cls, dim: int, context_dim: int = 0, **kwargs: Any) -> "ARDAE":
        """Return the paper's form: a raw energy, the AR-DAE loss, and ln Z by importance sampling.

        :param kwargs: Further arguments of the class. They take precedence over the paper's.
        """
        arguments: dict[str, Any] = {"preconditioned": False, "loss": "ardae", "normalization": "importance"} | kwargs
        return cls(dim, context_dim, **arguments)

    # Training

    def update(self, samples: Numbers, context: Numbers | None = None) -> dict[str, float]:
        """Take one optimizer step on samples of the current distribution.

        :param samples: (batch, n, dim) with ``context``, (n, dim) without; n at least 2.
        :param context: (batch, context_dim).
        :return: The terms of the loss, "loss" (their sum) and "grad_norm".
        :raises ValueError: For wrong shapes, and for samples or contexts that are not finite.
        """
        samples, context = self._as_numbers("samples", samples, context)
        check_samples(samples, context, self.dim, self.context_dim)
        return {name: float(value) for name, value in self.step(samples, context).items()}

    def step(self, samples: th.Tensor, context: th.Tensor | None = None) -> dict[str, th.Tensor]:
        """Update without checks, and return metrics as tensors, so that the host need not wait for the device."""
        samples, context = self._batched(samples.detach(), None if context is None else context.detach())
        metrics: dict[str, th.Tensor] = {}
        self.optimizer.zero_grad()
        self.standardizer.update(samples, context)
        standardizer_loss = self.standardizer.loss(samples, context)
        if standardizer_loss is not None:
            standardizer_loss.backward()
            metrics["standardizer_loss"] = standardizer_loss.detach()
        z = self.standardizer.to_local(samples, context)
        # The standard deviation of all samples of a context, before they are repeated and split (Lim et al., App. F)
        unit = z.std(dim=1, keepdim=True).mean(-1, keepdim=True) if self._noise_unit is None else self._noise_unit
        if self.noise.n_samples > 1:
            z = z.repeat_interleave(self.noise.n_samples, dim=1)
        parts = cached_chunks(z, self.standardizer.normalize_context(context))
        units: Iterable[float | th.Tensor] = repeat(unit)
        if isinstance(unit, th.Tensor):
            units = (rows for _, rows in cached_chunks(z, unit))
        for (part, part_context), part_unit in zip(parts, units, strict=False):
            share = part.numel() / z.numel()
            terms = self._score_terms(part, part_context, part_unit)
            (share * th.stack(list(terms.values())).sum()).backward()
            for name, term in terms.items():
                metrics[name] = metrics.get(name, 0) + share * term.detach()
        metrics["loss"] = th.stack(list(metrics.values())).sum()
        metrics["grad_norm"] = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        if parameters := self.standardizer.trainable_parameters():
            nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        if self.slow_model is not None:
            self._update_average(self.slow_model)
        return metrics

    def compile_updates(self) -> None:
        """Use torch.compile in further updates: they are faster, after a minute of compilation per sample shape."""
        self._score_terms = CompiledFunction(self._score_terms)  # type: ignore[method-assign]

    def _score_terms(self, z: th.Tensor, context: th.Tensor, unit: float | th.Tensor) -> dict[str, th.Tensor]:
        embedding = self.model.encode(context)
        return score_terms(self.model, z, embedding, self.loss, self.normalizer, self.noise, unit)

    @th.no_grad()
    def _update_average(self, slow_model: nn.Module) -> None:
        weight = self.average.next_weight()
        for slow, latest in zip(slow_model.parameters(), self.model.parameters(), strict=True):
            slow.lerp_(latest, weight)

    # Queries: x is (batch, n, dim) or (batch, dim) with context (batch, context_dim), and (n, dim) without

    @property
    def density_is_free(self) -> bool:
        """Whether :meth:`score_and_log_prob` costs no more than :meth:`score`."""
        return self.normalizer.density_is_free

    @property
    def has_density(self) -> bool:
        """Whether :meth:`log_prob` and :meth:`entropy` are available."""
        return self.normalizer.name is not None

    @th.no_grad()
    def score(self, x: Numbers, context: Numbers | None = None, *, noise_scale: float | None = None) -> th.Tensor:
        """Return ∇ ln p(x | context), in the shape of x.

        :param noise_scale: σ, for the score of samples with that much noise added: in units of the samples' scale if
            preconditioned, else in units of x. By default 0, or the training noise's scale if that is fixed.
        :raises ValueError: For wrong shapes, and for a noise scale that is negative or not finite.
        """
        if noise_scale is not None:
            check_min("noise_scale", noise_scale, 0)
            check_finite("noise_scale", noise_scale)
        query = self._query(x, context, noise_scale)
        return query.score(self._query_model(query.z, query.sigma, query.embedding).score)

    @th.no_grad()
    def log_prob(self, x: Numbers, context: Numbers | None = None) -> th.Tensor:
        """Return ln p(x | context), in the shape of x without its last dimension.

        :raises ValueError: If the estimator has no density.
        """
        query = self._query(x, context)
        log_prob = self.normalizer.log_prob(self._query_model, query.z, query.sigma, query.embedding)
        return query.log_prob(log_prob)

    @th.no_grad()
    def score_and_log_prob(self, x: Numbers, context: Numbers | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Return :meth:`score` and :meth:`log_prob` from one pass through the network."""
        query = self._query(x, context)
        model = self._query_model
        output = model(query.z, query.sigma, query.embedding)
        log_prob = self.normalizer.log_prob(model, query.z, query.sigma, query.embedding, output.log_density)
        return query.score(output.score), query.log_prob(log_prob)

    def entropy(self, samples: Numbers, context: Numbers | None = None) -> th.Tensor:
        """Return the mean of -ln p over samples of the current distribution: (batch,) with context, a scalar without.

        :param samples: (batch, n, dim) with ``context``, (n, dim) without.
        :raises ValueError: For another shape, or if the estimator has no density.
        """
        samples, context = self._as_numbers("samples", samples, context)
        check_points("samples", samples, context, self.dim, self.context_dim, single=False)
        return -self.log_prob(samples, context).mean(-1)

    @th.no_grad()
    def log_partition_estimate(
        self, context: Numbers | None = None, *, n_draws: int | None = None, proposal_scale: float | None = None
    ) -> tuple[th.Tensor, th.Tensor]:
        """Return ln ∫ exp(-E) by importance sampling around the location, and the effective sample size; (batch,).

        For energies that are normalized in training ("contrastive", "dual"), ln Z is their remaining error.

        :param n_draws: Number of draws; by default as many as the "importance" normalizer takes.
        :param proposal_scale: Standard deviation of the proposal; by default that of the "importance" normalizer.
        :raises ValueError: If the estimator is a score instead of an energy, or an argument is out of its range.
        """
        if self.parameterization != "energy":
            raise ValueError(f"`parameterization` must be 'energy' to have an ln Z, got {self.parameterization!r}")
        if context is not None:
            context = as_numbers("context", context, next(self.model.parameters()))
        check_context(context, self.context_dim)
        usual = self.normalizer if isinstance(self.normalizer, Importance) else Importance()
        if n_draws is not None:
            check_count("n_draws", n_draws)
        sampling = Importance(
            usual.n_samples if n_draws is None else n_draws,
            usual.proposal_scale if proposal_scale is None else proposal_scale,
        )
        if context is None:
            context = next(self.model.parameters()).new_zeros(1, 0)
        like = context.new_empty(len(context), 0, self.dim)
        embedding = self._query_model.encode(self.standardizer.normalize_context(context))
        return sampling.log_partition(self._query_model, like, self._sigma(like), embedding)

    def _query(self, x: Numbers, context: Numbers | None, noise_scale: float | None = None) -> "_Query":
        """Return x in the model's coordinates, with everything else that a query needs."""
        x, context = self._as_numbers("x", x, context)
        check_points("x", x, context, self.dim, self.context_dim)
        shape = x.shape
        if context is not None and x.dim() == 2:
            x = x.unsqueeze(1)
        x, context = self._batched(x, context)
        coordinates = self.standardizer.coordinates(context)
        z = coordinates.to_local(x)
        embedding = self._query_model.encode(self.standardizer.normalize_context(context))
        return _Query(shape, z, coordinates, self._sigma(z, noise_scale), embedding)

    def _as_numbers(self, name: str, x: Any, context: Any) -> tuple[th.Tensor, th.Tensor | None]:
        if th.compiler.is_compiling():  # within a training step, whose tensors are the estimator's
            return x, context
        like = next(self.model.parameters())
        return as_numbers(name, x, like), None if context is None else as_numbers("context", context, like)

    def _sigma(self, like: th.Tensor, noise_scale: float | None = None) -> th.Tensor:
        """Return the noise scale of a query in the model's coordinates, (1, 1, 1)."""
        if noise_scale is None:
            noise_scale = self.noise.scale if self.noise.distribution == "fixed" else 0.0
        return like.new_full((1, 1, 1), noise_scale * self.model.input_scale)

    @property
    def _query_model(self) -> ScoreModel:
        return self.model if self.slow_model is None else self.slow_model

    def _batched(self, x: th.Tensor, context: th.Tensor | None) -> tuple[th.Tensor, th.Tensor]:
        """Return (batch, n, dim) and (batch, context_dim): without context, a batch of one with an empty context."""
        return (x, context) if context is not None else (x.unsqueeze(0), x.new_zeros(1, 0))


class _Query(NamedTuple):
    """A query in the model's coordinates."""

    shape: Sequence[int]  # of x
    z: th.Tensor  # standardized points, (batch, n, dim)
    coordinates: Coordinates
    sigma: th.Tensor  # noise scale, (1, 1, 1)
    embedding: ContextEmbedding

    def score(self, local_score: th.Tensor) -> th.Tensor:
        """Return the score with respect to x, given that with respect to z."""
        return self.coordinates.score_from_local(local_score).reshape(self.shape)

    def log_prob(self, local_log_prob: th.Tensor) -> th.Tensor:
        """Return the log-density of x, given that of z."""
        return (local_log_prob + self.coordinates.log_det(self.z.shape[-1])).reshape(self.shape[:-1])


def _make_noise(noise_kwargs: Mapping[str, Any], preconditioned: bool, loss: str) -> NoiseScale:
    check_keys("noise_kwargs", noise_kwargs, tuple(NoiseScale.__dataclass_fields__))
    defaults: dict[str, Any] = {"distribution": "fixed", "scale": 0.3} if loss == "own_noise" else {}
    noise = NoiseScale(**{**defaults, **noise_kwargs})
    if loss == "own_noise" and not preconditioned:
        raise ValueError("`preconditioned` must be True with loss='own_noise', got False")
    if loss == "own_noise" and noise.distribution != "fixed":
        raise ValueError(f"`distribution` must be 'fixed' with loss='own_noise', got {noise.distribution!r}")
    if preconditioned and not noise.relative:
        raise ValueError("`noise_kwargs['relative']` must be True with preconditioned=True, got False")
    if noise.distribution == "fixed" and not preconditioned and noise.relative:
        raise ValueError(
            "`noise_kwargs['relative']` must be False with distribution='fixed' and preconditioned=False, got True"
        )
    return noise
