"""The estimator to pick up alone: train it on samples, ask it for scores, log densities and entropies."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch as th
from torch import nn

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.common.compiled import CompiledFunction
from ardae_rl.score.inputs import check_context, check_points, check_samples
from ardae_rl.score.log_partition import immse_log_prob, importance_log_partition
from ardae_rl.score.models import EnergyModel, PreconditionedEnergy, PreconditionedField, RawEnergy
from ardae_rl.score.networks import ContextCode
from ardae_rl.score.objective import NOISE_DISTRIBUTIONS, NoiseScale, score_terms
from ardae_rl.score.standardise import FixedStandardiser, LearnedStandardiser, RunningAverage

HEADS = ("gradient", "vector")
LOSSES = ("cv", "ardae")
LOG_PARTITIONS = ("contrastive", "dual", "importance", "immse")
_ROWS_IN_CACHE = 1024


class ARDAE(nn.Module):
    """Amortised residual denoising autoencoder: the score ∇_x ln p(x | context) of whatever makes the samples.

    Reference: Lim, Courville, Pal and Huang (2020), AR-DAE: Towards unbiased neural entropy gradient estimation,
    https://arxiv.org/abs/2006.05164. The defaults are this package's preconditioned form with the control-variate
    loss; ``preconditioned=False, loss="ardae", log_partition="importance"`` is the paper's.

    Example::

        estimator = ARDAE(dim=2)
        for _ in range(1000):
            estimator.update(sampler(512))  # samples (n, dim)
        estimator.score(x), estimator.log_prob(x)

    ``state_dict()`` holds the estimator, ``optimizer.state_dict()`` what a continued training needs as well.

    :param dim: dimension of the samples
    :param context_dim: dimension of the context that they depend on; 0 for none
    :param head: "gradient" (f = ∇ψ, which gives a density) or "vector" (f itself)
    :param loss: "cv" (:func:`~ardae_rl.score.losses.cv_loss`) or "ardae" (the paper's)
    :param log_partition: how ``log_prob`` is normalised. "contrastive" (against a Gaussian, learned beside the score),
        "dual" (the noise-level derivative is learned beside the score), "importance" (sampling at each query, the
        paper's), "immse" (an integral of denoising errors, learned at all noise levels), None (scores only), or
        "auto": "contrastive" for the gradient head, None for the vector head
    :param preconditioned: factor a Gaussian out of the energy; False for the paper's raw network
    :param standardise: learn the samples' location and scale, for that Gaussian to have; False if samples come with a
        mean near zero and a variance near one in every context. Without preconditioning it has no meaning
    :param hidden: widths of the network from where the context joins
    :param context_hidden: widths of the context encoder
    :param point_hidden: widths of the layers before the context joins
    :param context_gain: whether the context multiplies the joining layer's units as well
    :param activation: "silu", "softplus" or "elu"
    :param n_frequencies: directions along which the network sees sines and cosines beside the point: for densities
        with many narrow modes, which are learnt late without
    :param frequency: standard deviation of the directions' components, in units of the samples' scale
    :param noise_scale: δ, the standard deviation of the signed noise scale, relative to the samples' scale
    :param noise_distribution: "normal", or "fixed" for the one noise scale δ, with which scores are then asked for as
        well: a denoising autoencoder that is not amortised
    :param relative_noise: False if δ counts in units of x, which only the raw network can have
    :param n_noise: noise draws for each sample (the paper's n_σ)
    :param score_weight: of the score loss beside one that normalises the density, which a larger weight brings noise
        into: the more, the narrower the density's modes are
    :param learning_rate: of Adam
    :param betas: of Adam; little momentum, because the samples' distribution moves and the estimator has to follow
    :param averaging: updates over which the weights are averaged for queries, which takes most of the training's noise
        out of scores and densities; 1 for the newest weights, without that delay
    :param max_grad_norm: bound of the network's gradient norm; the location and scale have a bound of their own
    :param n_importance: draws for "importance"
    :param proposal_scale: deviation of the importance proposal, in units of the samples' scale if preconditioned
    :param input_scale: s, what the raw network's inputs are multiplied by
    :raises ValueError: for an argument outside of what is accepted
    """

    def __init__(
        self,
        dim: int,
        context_dim: int = 0,
        *,
        head: str = "gradient",
        loss: str = "cv",
        log_partition: str | None = "auto",
        preconditioned: bool = True,
        standardise: bool = True,
        hidden: Sequence[int] = (64, 64),
        context_hidden: Sequence[int] = (128, 128),
        point_hidden: Sequence[int] = (),
        context_gain: bool = True,
        activation: str = "silu",
        n_frequencies: int = 0,
        frequency: float = 3.0,
        noise_scale: float = 0.1,
        noise_distribution: str = "normal",
        relative_noise: bool = True,
        n_noise: int = 1,
        score_weight: float = 0.1,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.999),
        averaging: int = 20,
        max_grad_norm: float = 10.0,
        n_importance: int = 100,
        proposal_scale: float = 1.0,
        input_scale: float = 1e4,
    ):
        super().__init__()
        check_positive("dim", dim)
        if context_dim < 0:
            raise ValueError(f"context_dim={context_dim}: accepted are 0 (no context) and positive integers")
        check_choice("head", head, HEADS)
        check_choice("loss", loss, LOSSES)
        check_choice("noise_distribution", noise_distribution, NOISE_DISTRIBUTIONS)
        if preconditioned and not relative_noise:
            raise ValueError("relative_noise=False: accepted with it is preconditioned=False")
        if noise_distribution == "fixed" and not preconditioned and relative_noise:
            raise ValueError("noise_distribution='fixed' with preconditioned=False: accepted is relative_noise=False")
        for name, value in {
            "noise_scale": noise_scale,
            "n_noise": n_noise,
            "score_weight": score_weight,
            "learning_rate": learning_rate,
            "averaging": averaging,
            "max_grad_norm": max_grad_norm,
            "n_importance": n_importance,
            "proposal_scale": proposal_scale,
            "input_scale": input_scale,
        }.items():
            check_positive(name, value)
        self.dim, self.context_dim = dim, context_dim
        self.head, self.loss = head, loss
        self.log_partition = resolve_log_partition(log_partition, head, preconditioned)
        unit = 1.0 if preconditioned else None if relative_noise else input_scale
        self.noise_scale, self.n_noise = NoiseScale(noise_scale, noise_distribution, unit), n_noise
        self.score_weight, self.max_grad_norm = score_weight, max_grad_norm
        self.n_importance = n_importance
        self._input_scale = 1.0 if preconditioned else input_scale
        self.proposal_scale = proposal_scale * self._input_scale

        network_kwargs: dict[str, Any] = dict(
            hidden=tuple(hidden),
            context_hidden=tuple(context_hidden),
            point_hidden=tuple(point_hidden),
            context_gain=context_gain,
            activation=activation,
            n_frequencies=n_frequencies,
            frequency=frequency,
        )
        self.model: EnergyModel
        self.standardiser: LearnedStandardiser | FixedStandardiser
        if preconditioned:
            model_class = PreconditionedEnergy if head == "gradient" else PreconditionedField
            self.model = model_class(dim, context_dim, network_kwargs)
            self.standardiser = (
                LearnedStandardiser(dim, context_dim) if standardise else FixedStandardiser(1.0, context_dim)
            )
        else:
            self.model = RawEnergy(dim, context_dim, network_kwargs, scalar=head == "gradient", input_scale=input_scale)
            self.standardiser = FixedStandardiser(input_scale)
        self.slow_model: EnergyModel | None = None
        if averaging > 1:
            self.slow_model = copy.deepcopy(self.model).requires_grad_(False)
            self.average = RunningAverage(horizon=averaging)
        groups = [{"params": list(self.model.parameters())}]
        if parameters := self.standardiser.trainable_parameters():
            groups.append({"params": parameters})
        self.optimizer = th.optim.Adam(groups, lr=learning_rate, betas=betas, fused=True)

    # Training

    def update(self, samples: th.Tensor, context: th.Tensor | None = None) -> dict[str, float]:
        """One optimiser step on samples of the present distribution.

        :param samples: (batch, n, dim) with ``context``, (n, dim) without; n at least 2
        :param context: (batch, context_dim)
        :return: the terms of the loss, "loss" (their sum) and "grad_norm"
        :raises ValueError: for wrong shapes and for samples or contexts that are not finite
        """
        check_samples(samples, context, self.dim, self.context_dim)
        return {name: float(value) for name, value in self.step(samples, context).items()}

    def step(self, samples: th.Tensor, context: th.Tensor | None = None) -> dict[str, th.Tensor]:
        """:meth:`update` without the checks, and with tensors for losses, so that no device is waited for."""
        samples, context = self._batched(samples.detach(), None if context is None else context.detach())
        metrics: dict[str, th.Tensor] = {}
        self.optimizer.zero_grad()
        self.standardiser.observe(samples, context)
        standardiser_loss = self.standardiser.loss(samples, context)
        if standardiser_loss is not None:
            standardiser_loss.backward()
            metrics["standardiser_loss"] = standardiser_loss.detach()
        location, log_scale = self.standardiser(context)
        z = (samples - location) * th.exp(-log_scale)
        if self.n_noise > 1:
            z = z.repeat_interleave(self.n_noise, dim=1)
        for part, part_context in _parts_in_cache(z, self.standardiser.normalise_context(context)):
            share = part.numel() / z.numel()
            terms = self._score_terms(part, part_context)
            (share * th.stack(list(terms.values())).sum()).backward()
            for name, term in terms.items():
                metrics[name] = metrics.get(name, 0) + share * term.detach()
        metrics["loss"] = th.stack(list(metrics.values())).sum()
        metrics["grad_norm"] = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        if parameters := self.standardiser.trainable_parameters():
            nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        if self.slow_model is not None:
            self._follow(self.slow_model)
        return metrics

    def compile_updates(self) -> None:
        """Train through torch.compile from now on: faster, after a minute or so for each new shape of samples."""
        self._score_terms = CompiledFunction(self._score_terms)  # type: ignore[method-assign]

    def _score_terms(self, z: th.Tensor, context: th.Tensor) -> dict[str, th.Tensor]:
        code = self.model.encode(context)
        return score_terms(self.model, z, code, self.loss, self.log_partition, self.noise_scale, self.score_weight)

    @th.no_grad()
    def _follow(self, slow_model: nn.Module) -> None:
        weight = self.average.next_weight()
        for slow, newest in zip(slow_model.parameters(), self.model.parameters(), strict=True):
            slow.lerp_(newest, weight)

    # Queries: x is (batch, n, dim) or (batch, dim) with context (batch, context_dim), and (n, dim) without

    def score(self, x: th.Tensor, context: th.Tensor | None = None, *, noise_scale: float | None = None) -> th.Tensor:
        """∇_x ln p(x | context), of the shape of x.

        :param noise_scale: σ, for the score of the samples with that much noise added: in units of the samples' scale
            if preconditioned, else of x. By default none is added (or, with a fixed noise scale, as in training)
        """
        return self._query(x, context, score=True, density=False, noise_scale=noise_scale)[0]

    def log_prob(self, x: th.Tensor, context: th.Tensor | None = None) -> th.Tensor:
        """ln p(x | context), normalised as ``log_partition`` says; the shape of x without its last dimension.

        :raises ValueError: if ``log_partition`` is None
        """
        return self._query(x, context, score=False, density=True)[1]

    def score_and_log_prob(self, x: th.Tensor, context: th.Tensor | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Both, from one pass through the network."""
        return self._query(x, context, score=True, density=True)

    @property
    def density_is_free(self) -> bool:
        """Whether :meth:`score_and_log_prob` costs what :meth:`score` does."""
        return self.log_partition in ("contrastive", "dual")

    def entropy(self, samples: th.Tensor, context: th.Tensor | None = None) -> th.Tensor:
        """-E ln p over samples of the present distribution: (batch,) with context, a scalar without.

        :param samples: (batch, n, dim) with ``context``, (n, dim) without
        """
        return -self.log_prob(samples, context).mean(-1)

    @th.no_grad()
    def log_partition_estimate(
        self, context: th.Tensor | None = None, *, n_draws: int | None = None
    ) -> tuple[th.Tensor, th.Tensor]:
        """ln ∫ exp ψ by importance sampling around the location, and the draws' effective sample size; (batch,).

        For energies that are normalised already ("contrastive", "dual"), ln Z says by how much they are off.

        :param n_draws: of importance sampling; None for ``n_importance``
        """
        if self.head != "gradient":
            raise ValueError(f"log_partition_estimate with head={self.head!r}: accepted is 'gradient', an energy")
        check_positive("n_draws", self.n_importance if n_draws is None else n_draws)
        check_context(context, self.context_dim)
        _, context = self._batched(None, context)
        code = self._query_model.encode(self.standardiser.normalise_context(context))
        return self._importance(code, context, self._query_noise(context, None), n_draws)

    @th.no_grad()
    def _query(
        self,
        x: th.Tensor,
        context: th.Tensor | None,
        *,
        score: bool,
        density: bool,
        noise_scale: float | None = None,
    ) -> tuple[th.Tensor, th.Tensor]:
        if density and self.log_partition is None:
            raise ValueError(f"log_partition=None has no density; accepted: {', '.join(map(repr, LOG_PARTITIONS))}")
        check_points(x, context, self.dim, self.context_dim)
        shape = x.shape
        if context is not None and x.dim() == 2:
            x = x.unsqueeze(1)
        x, context = self._batched(x, context)
        location, log_scale = self.standardiser(context)
        z = (x - location) * th.exp(-log_scale)
        model = self._query_model
        code = model.encode(self.standardiser.normalise_context(context))
        sigma = self._query_noise(z, noise_scale)
        scores = log_prob = z  # replaced where asked for
        if score:
            energy = model(z, sigma, code)
            scores = (energy.score * th.exp(-log_scale)).reshape(shape)
            log_density = energy.log_density
        elif density and self.log_partition != "immse":
            assert not isinstance(model, PreconditionedField)
            log_density = model.log_density(z, sigma, code)
        if density:
            if self.log_partition == "immse":
                log_prob = immse_log_prob(lambda y, s: model(y, s, code).score, z, n_levels=32, n_noise=4)
            else:
                assert log_density is not None
                log_prob = log_density
                if self.log_partition == "importance":
                    log_prob = log_prob - self._importance(code, context, sigma)[0].unsqueeze(-1)
            log_prob = (log_prob - log_scale.expand(*z.shape).sum(-1)).reshape(shape[:-1])
        return scores, log_prob

    def _query_noise(self, like: th.Tensor, noise_scale: float | None) -> th.Tensor:
        """σ in the coordinates of the network, broadcasting against (batch, n, 1)."""
        if noise_scale is None:
            noise_scale = self.noise_scale.scale if self.noise_scale.distribution == "fixed" else 0.0
        return like.new_full((1, 1, 1), noise_scale * self._input_scale)

    def _importance(
        self, code: ContextCode, context: th.Tensor, sigma: th.Tensor, n_draws: int | None = None
    ) -> tuple[th.Tensor, th.Tensor]:
        model = self._query_model
        assert not isinstance(model, PreconditionedField)
        draws = (len(context), n_draws or self.n_importance, self.dim)
        return importance_log_partition(
            lambda z: model.log_density(z, sigma, code), draws, self.proposal_scale, context
        )

    @property
    def _query_model(self) -> EnergyModel:
        return self.model if self.slow_model is None else self.slow_model

    def _batched(self, x: th.Tensor | None, context: th.Tensor | None) -> tuple[Any, th.Tensor]:
        """(batch, n, dim) and (batch, context_dim): without context, a batch of one with an empty context."""
        if context is not None:
            return x, context
        reference = x if x is not None else next(self.model.parameters())
        return (None if x is None else x.unsqueeze(0)), reference.new_zeros(1, 0)


def _parts_in_cache(z: th.Tensor, context: th.Tensor) -> Iterator[tuple[th.Tensor, th.Tensor]]:
    """Parts of samples (batch, n, dim) and contexts, small enough that a CPU's cache holds their hidden units.

    Beyond it, each of the many temporaries of a pass is memory that the system maps, clears and takes back.
    """
    if z.device.type != "cpu":
        yield z, context
    elif len(z) == 1:
        for part in z.split(_ROWS_IN_CACHE, dim=1):
            yield part, context
    else:
        n_contexts = max(1, _ROWS_IN_CACHE // z.shape[1])
        yield from zip(z.split(n_contexts), context.split(n_contexts), strict=True)


def resolve_log_partition(log_partition: str | None, head: str, preconditioned: bool = True) -> str | None:
    """The meaning of "auto", and a check that the head can give what is asked.

    :raises ValueError: for an unknown name, and for a normalisation that the head or the raw form cannot give
    """
    if log_partition == "auto":
        if head == "vector":
            return None
        return "contrastive" if preconditioned else "importance"
    if log_partition is None:
        return None
    check_choice("log_partition", log_partition, (*LOG_PARTITIONS, "auto"))
    accepted: tuple[str, ...] = LOG_PARTITIONS
    if head == "vector":
        accepted = ("immse",) if preconditioned else ()
    elif not preconditioned:
        accepted = ("importance",)
    if log_partition not in accepted:
        names = ", ".join([*map(repr, accepted), "None"])
        form = f"head={head!r}" + ("" if preconditioned else " and preconditioned=False")
        raise ValueError(f"log_partition={log_partition!r} with {form}: accepted are {names}")
    return log_partition
