"""ln p(x) of test images by importance sampling, with the effective sample size of the weights."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch as th

from experiments.ardae_paper.mnist.autoencoder import Autoencoder
from experiments.ardae_paper.mnist.bounds import Bound, TractableBound
from experiments.ardae_paper.mnist.proposals import Proposal, laplace_proposal, moment_proposal

_ROWS = 10_000  # latents that are decoded at once


class Estimate(NamedTuple):
    """Estimates for images, each (batch,)."""

    log_prob: th.Tensor  # ln p(x)
    sample_size: th.Tensor  # effective, of the importance weights
    standard_error: th.Tensor  # of ln p(x), by the delta method


def estimate(log_weights: th.Tensor) -> Estimate:
    """Return the estimate from log importance weights (batch, n).

    The logarithm of an average is biased low by about half its squared standard error.
    """
    n = log_weights.shape[1]
    log_sum = log_weights.logsumexp(1)
    weights = (log_weights - log_sum.unsqueeze(1)).exp()
    sample_size = 1 / weights.square().sum(1)
    standard_error = (1 / sample_size - 1 / n).clamp_min(0).sqrt()
    return Estimate(log_sum - math.log(n), sample_size, standard_error)


@th.no_grad()
def proposal_log_weights(model: Autoencoder, x: th.Tensor, proposal: Proposal, n: int) -> th.Tensor:
    """Return log importance weights of ``n`` draws per image from a proposal, (batch, n)."""
    z, log_q = proposal.sample(n)
    return decode_in_chunks(model, x, z) - log_q


def decode_in_chunks(model: Autoencoder, x: th.Tensor, z: th.Tensor) -> th.Tensor:
    """Return ln p(x, z), (batch, n), for latents (batch, n, dim), computed in chunks."""
    parts = z.split(max(1, _ROWS // len(z)), dim=1)
    return th.cat([model.log_joint(x, part) for part in parts], dim=1)


@th.no_grad()
def paper_estimate(model: Autoencoder, bound: Bound, x: th.Tensor, n: int) -> Estimate:
    """Return the paper's estimate: draws are from the posterior if it has a density, else from a Gaussian like it.

    For a hierarchical posterior with the auxiliary bound, the weights are over z and z0.
    """
    if isinstance(bound, TractableBound):
        step = max(1, _ROWS // len(x))
        parts = [min(step, n - k) for k in range(0, n, step)]
        return estimate(th.cat([bound.log_weights(x, part) for part in parts], dim=1))
    samples = sample_in_chunks(model, x, n)
    return estimate(proposal_log_weights(model, x, moment_proposal(samples), n))


@th.no_grad()
def laplace_estimate(model: Autoencoder, x: th.Tensor, n: int) -> Estimate:
    """Return the estimate with the Laplace approximation of p(z|x) as the proposal, for any posterior.

    p(x) is that of the decoder alone; the posterior only gives the starting point of the proposal's fit.
    """
    return estimate(proposal_log_weights(model, x, fit_laplace(model, x), n))


@th.no_grad()
def fit_laplace(model: Autoencoder, x: th.Tensor) -> Proposal:
    """Return the Laplace approximation of p(z|x), starting from the mean of 64 latents of the posterior."""

    def log_joint(image: th.Tensor, latent: th.Tensor) -> th.Tensor:
        return model.log_joint(image.unsqueeze(0), latent.view(1, 1, -1)).squeeze()

    return laplace_proposal(log_joint, x, sample_in_chunks(model, x, 64).mean(1))


def sample_in_chunks(model: Autoencoder, x: th.Tensor, n: int) -> th.Tensor:
    """Return ``n`` latents of the posterior per image, (batch, n, dim), computed in chunks."""
    features, step = model.features(x), max(1, _ROWS // len(x))
    return th.cat([model.posterior.sample(features, min(step, n - k)) for k in range(0, n, step)], dim=1)


Estimator = Callable[[th.Tensor], Estimate]


def evaluate_images(estimator: Estimator, images: th.Tensor, batch_size: int = 50) -> Estimate:
    """Return the estimates of all images, (n_images,), a batch at a time."""
    parts = [estimator(batch) for batch in images.split(batch_size)]
    return Estimate(*(th.cat(values) for values in zip(*parts, strict=True)))
