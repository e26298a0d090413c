"""Errors of the closed form of a policy's covariance, by order of the expansion and number of quadrature nodes.

The generators are random ones with one hidden layer: nearly linear, as at initialization ("random"), and saturated. The
reference is the closed form with many orders and nodes, which is itself checked against samples: `z` is the largest
deviation of an entry of the covariance in standard errors, over 153 entries in 17 dimensions. Errors are those of the
covariance in coordinates in which the reference is the identity: its log-determinant, and its extreme eigenvalues.
"""

import math
import time
from typing import Any, NamedTuple

import torch as th

from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.sac_ardae.moments import HermiteRule, hermite_rule, one_layer_moments
from experiments.figure import Figure

WIDTH, N_STATES = 64, 64
KINDS = {"nearly linear": (0.1, 0.1), "random": (1.0, 1.0), "saturated": (3.0, 2.0)}  # factors of noise and shift
DIMENSIONS = ((1, 4), (6, 10), (17, 21), (17, 32))  # of actions and noise
RULES = ((1, 8), (1, 12), (2, 6), (2, 8), (2, 12), (2, 24), (3, 12), (3, 24), (6, 24), (12, 48))
REFERENCE = (40, 300)
BUDGETS = {"smoke": {"samples": 1000}, "quick": {"samples": 1_000_000}}
CASE = ("kind", "dim", "noise_dim", "order", "nodes")


class Generator(NamedTuple):
    """x = W tanh(shift + gain A ε) for some states."""

    shift: th.Tensor  # (states, width)
    gain: th.Tensor  # (states, width)
    noise_weight: th.Tensor  # A, (width, noise_dim)
    output_weight: th.Tensor  # W, (dim, width)

    def moments(self, rule: HermiteRule) -> th.Tensor:
        """Return the covariance in each state by this rule, (states, dim, dim)."""
        bias = self.output_weight.new_zeros(len(self.output_weight))
        return one_layer_moments(*self, bias, th.tanh, rule).covariance

    def sample(self, state: int, n: int) -> th.Tensor:
        """Return samples (n, dim) in a state."""
        noise = th.randn(n, self.noise_weight.shape[1], dtype=self.shift.dtype)
        return th.tanh(self.shift[state] + self.gain[state] * (noise @ self.noise_weight.T)) @ self.output_weight.T


def make_generator(kind: str, dim: int, noise_dim: int) -> Generator:
    """Return a random generator in double precision."""
    noise_factor, shift_factor = KINDS[kind]
    th.manual_seed(0)
    shift, gain = th.randn(2, N_STATES, WIDTH, dtype=th.float64)
    noise_weight = th.randn(WIDTH, noise_dim, dtype=th.float64) / math.sqrt(noise_dim)
    output_weight = th.randn(dim, WIDTH, dtype=th.float64) / math.sqrt(WIDTH)
    return Generator(shift_factor * shift, 2 * noise_factor * th.sigmoid(gain), noise_weight, output_weight)


def double_rule(order: int, n_nodes: int) -> HermiteRule:
    """Return the rule in double precision."""
    before = th.get_default_dtype()
    th.set_default_dtype(th.float64)
    try:
        return hermite_rule(order, n_nodes)
    finally:
        th.set_default_dtype(before)


def largest_deviation(covariance: th.Tensor, samples: th.Tensor) -> float:
    """Return the largest deviation of a covariance from that of samples, in standard errors."""
    centered = samples - samples.mean(0)
    largest = 0.0
    for column, row in zip(centered.T, covariance, strict=True):
        products = column.unsqueeze(1) * centered
        errors = (row - products.mean(0)).abs() / (products.std(0) / math.sqrt(len(samples)))
        largest = max(largest, float(errors.max()))
    return largest


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{kind} {dim} {noise_dim}", "kind": kind, "dim": dim, "noise_dim": noise_dim} | BUDGETS[budget]
        for kind in KINDS
        for dim, noise_dim in DIMENSIONS
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Compare all rules on one generator."""
    generator = make_generator(settings["kind"], settings["dim"], settings["noise_dim"])
    reference = generator.moments(double_rule(*REFERENCE))
    deviation = largest_deviation(reference[0], generator.sample(0, settings["samples"]))
    factor = th.linalg.cholesky(reference)
    rows: list[Row] = []
    for order, n_nodes in RULES:
        rule = double_rule(order, n_nodes)
        start = time.process_time()
        covariance = generator.moments(rule)
        milliseconds = 1e3 * (time.process_time() - start)
        half = th.linalg.solve_triangular(factor, covariance, upper=False)
        eigenvalues = th.linalg.eigvalsh(th.linalg.solve_triangular(factor, half.mT, upper=False))
        log_det = eigenvalues.clamp_min(1e-12).log().sum(-1)
        figures = {
            "log_det_error": log_det.mean(),
            "largest_log_det_error": log_det.abs().max(),
            "smallest_eigenvalue": eigenvalues[:, 0].mean(),
            "largest_eigenvalue": eigenvalues[:, -1].mean(),
            "cpu_ms": milliseconds,
            "reference_z": deviation,
        }
        key = {name: settings[name] for name in ("kind", "dim", "noise_dim", "samples")}
        rows.append(key | {"order": order, "nodes": n_nodes} | {name: f"{float(x):.4g}" for name, x in figures.items()})
    return rows


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=(*CASE, "log_det_error", "smallest_eigenvalue", "largest_eigenvalue", "reference_z"),
    seeds={"smoke": 0, "quick": 0},
    key=(*CASE, "samples"),
)
