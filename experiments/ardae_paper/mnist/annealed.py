"""Annealed importance sampling of ln p(x) (Neal 2001; Wu et al. 2017), as a check of plain importance sampling."""

import itertools
from collections.abc import Callable

import torch as th

from experiments.ardae_paper.mnist.evaluation import Estimate, estimate
from experiments.ardae_paper.mnist.proposals import Proposal

LogJointOfChains = Callable[[th.Tensor], th.Tensor]  # maps latents (batch, n, dim) to ln p(x, z), (batch, n)


def annealed_estimate(
    log_joint: LogJointOfChains,
    start: Proposal,
    n_chains: int,
    n_temperatures: int,
    n_leapfrog: int = 5,
    acceptance: float = 0.75,
) -> Estimate:
    """Return ln p(x) from chains of Hamiltonian steps between a proposal q and p(x, z), through q^(1-t) p(x, z)^t.

    Steps are taken in coordinates in which q has covariance I. For each image, their size is adapted to the acceptance
    rate of the previous step; the bias from this adaptation is negligible compared to the standard error.

    :param log_joint: ln p(x, z), differentiable.
    :param start: q.
    :param n_chains: Number of chains per image.
    :param n_temperatures: Number of temperatures t after 0, spaced evenly.
    :param n_leapfrog: Number of leapfrog steps at each temperature.
    :param acceptance: Acceptance rate to which the step size is adapted.
    """
    z, log_q = start.sample(n_chains)
    local = start.to_local(z)
    log_p = log_joint(z).detach()
    log_weights = th.zeros_like(log_q)
    size = local.new_full((len(local), 1, 1), 0.3)
    temperatures = th.linspace(0, 1, n_temperatures + 1).tolist()
    for low, high in itertools.pairwise(temperatures):
        log_weights = log_weights + (high - low) * (log_p - log_q)

        def target(at: th.Tensor, t: float = high) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
            log_q, log_p = start.log_prob_local(at), log_joint(start.from_local(at))
            return (1 - t) * log_q + t * log_p, log_q.detach(), log_p.detach()

        local, log_q, log_p, rate = _hamiltonian_step(target, local, size, n_leapfrog)
        size = size * th.where(rate > acceptance, 1.1, 0.9)[:, None, None]
    return estimate(log_weights)


Target = Callable[[th.Tensor], tuple[th.Tensor, th.Tensor, th.Tensor]]


def _hamiltonian_step(
    target: Target, z: th.Tensor, size: th.Tensor, n_leapfrog: int
) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
    """Return the next points with ln q and ln p(x, z) there, and the acceptance rate of each image."""
    momentum = th.randn_like(z)
    value, log_q, log_p, gradient = _with_gradient(target, z)
    energy = value - 0.5 * momentum.square().sum(-1)
    proposed, new_momentum = z, momentum + 0.5 * size * gradient
    for k in range(n_leapfrog):
        proposed = proposed + size * new_momentum
        new_value, new_log_q, new_log_p, gradient = _with_gradient(target, proposed)
        new_momentum = new_momentum + (0.5 if k + 1 == n_leapfrog else 1.0) * size * gradient
    new_energy = new_value - 0.5 * new_momentum.square().sum(-1)
    accepted = th.rand_like(energy).log() < new_energy - energy
    return (
        th.where(accepted.unsqueeze(-1), proposed, z),
        th.where(accepted, new_log_q, log_q),
        th.where(accepted, new_log_p, log_p),
        accepted.float().mean(1),
    )


def _with_gradient(target: Target, z: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
    with th.enable_grad():
        z = z.detach().requires_grad_()
        value, log_q, log_p = target(z)
        (gradient,) = th.autograd.grad(value.sum(), z)
    return value.detach(), log_q, log_p, gradient
