"""Accuracy of the estimator for samples that are correlated, nearly degenerate, or heavy-tailed.

The score error is E|f - ∇ln p|² / E|∇ln p|², where f is the estimated score. The density's bias is the mean of the
estimated minus the true ln p, in nats. Both are measured at new samples after 1500 updates with 512 samples each, at
the estimator's defaults. Only the cases named "context" have a context, which moves the samples' mean.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from scipy.special import gammaln

from ardae_rl.common.checks import check_choice
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.score import ARDAE
from experiments.figure import Figure

_CONTEXT_DIM = 3
KEY = ("case", "seed", "updates")
SEEDS = {"smoke": 1, "quick": 3}
BUDGETS = {"smoke": {"updates": 1, "test_contexts": 4}, "quick": {"updates": 1500, "test_contexts": 512}}


class Case(NamedTuple):
    """The distribution of x = location(context) + A z, where z is normal or multivariate Student t."""

    factor: th.Tensor  # A, (dim, dim)
    degrees: float = math.inf  # of freedom of z
    context_dim: int = 0

    def contexts(self, n: int) -> th.Tensor:
        """Draw contexts, (n, context_dim)."""
        return th.randn(n, self.context_dim)

    def sample(self, context: th.Tensor, n: int) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Return samples x, (batch, n, dim), with ln p(x), (batch, n), and its gradient, (batch, n, dim)."""
        dim = len(self.factor)
        z = th.randn(len(context), n, dim)
        if self.degrees == math.inf:
            log_prob, score = -0.5 * z.square().sum(-1) - 0.5 * dim * math.log(2 * math.pi), -z
        else:
            nu = self.degrees
            z = z / th.distributions.Chi2(nu).sample((len(context), n, 1)).div(nu).sqrt()
            squares = z.square().sum(-1, keepdim=True)
            score = -(nu + dim) * z / (nu + squares)
            constant = gammaln((nu + dim) / 2) - gammaln(nu / 2) - 0.5 * dim * math.log(nu * math.pi)
            log_prob = constant - 0.5 * (nu + dim) * (squares.squeeze(-1) / nu).log1p()
        score = th.linalg.solve(self.factor.mT, score.mT).mT
        x = z @ self.factor.mT + self.location(context).unsqueeze(1)
        return x, log_prob - th.linalg.slogdet(self.factor).logabsdet, score

    def location(self, context: th.Tensor) -> th.Tensor:
        """Return the mean in each context, (batch, dim)."""
        weight = th.arange(float(self.context_dim * len(self.factor))).cos().view(self.context_dim, len(self.factor))
        return context @ weight + (2 * context).sin().sum(1, keepdim=True)


def correlation(rho: float) -> th.Tensor:
    """Return a factor of the covariance of two unit variables with correlation rho."""
    return th.tensor([[1.0, 0.0], [rho, math.sqrt(1 - rho**2)]])


def ill_conditioned(dim: int, condition: float) -> th.Tensor:
    """Return a random factor whose singular values fall from 1 to 1 / condition."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
    return th.as_tensor(basis * np.geomspace(1, 1 / condition, dim), dtype=th.float32)


_LINE = th.tensor([[1.0, 0.0], [1.0, 1e-3]])
CASES = {
    "rho 0.99": Case(correlation(0.99)),
    "rho 0.999": Case(correlation(0.999)),
    "d 20 condition 57": Case(ill_conditioned(20, 57)),
    "d 50 condition 76": Case(ill_conditioned(50, 76)),
    "line": Case(_LINE),
    "student 3": Case(th.eye(2), 3.0),
    "student 1.5": Case(th.eye(2), 1.5),
    "isotropic d 2": Case(th.eye(2)),
    "isotropic d 20": Case(th.eye(20)),
    "isotropic d 50": Case(th.eye(50)),
    "context isotropic d 6": Case(th.eye(6), context_dim=_CONTEXT_DIM),
    "context rho 0.999": Case(correlation(0.999), context_dim=_CONTEXT_DIM),
    "context d 20 condition 57": Case(ill_conditioned(20, 57), context_dim=_CONTEXT_DIM),
}


def runs(budget: str, n_seeds: int, *, cases: tuple[str, ...] = tuple(CASES)) -> list[dict[str, Any]]:
    for case in cases:
        check_choice("cases", case, CASES)
    return [
        {"name": f"{case} {seed}", "case": case, "seed": seed} | BUDGETS[budget]
        for seed in range(n_seeds)
        for case in cases
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one estimator, and return its errors."""
    case, updates = CASES[settings["case"]], settings["updates"]
    th.manual_seed(settings["seed"])
    estimator = ARDAE(len(case.factor), case.context_dim)
    n_contexts = 32 if case.context_dim else 1
    seconds = 0.0
    for update in range(updates):
        context = case.contexts(n_contexts)
        samples, _, _ = case.sample(context, 512 // n_contexts)
        begin = time.process_time()
        estimator.update(*_arguments(case, samples, context))
        seconds += time.process_time() - begin
        if update % 50 == 0:
            run.report(update, updates)
    context = case.contexts(settings["test_contexts"] if case.context_dim else 1)
    samples, log_prob, score = case.sample(context, 16 * settings["test_contexts"] // len(context))
    arguments = _arguments(case, samples, context)
    error = (estimator.log_prob(*arguments) - log_prob).double()
    score_error = (estimator.score(*arguments) - score).square().sum() / score.square().sum()
    log_partition, ess = estimator.log_partition_estimate(context[:1] if case.context_dim else None)
    return [
        {name: settings[name] for name in KEY}
        | {
            "score_error": f"{score_error:.3g}",
            "log_prob_bias": f"{error.mean():.3g}",
            "log_prob_error": f"{error.abs().mean():.3g}",
            "log_partition": f"{log_partition.mean():.3g}",
            "effective_samples": f"{ess.mean():.3g}",
            "milliseconds": round(1000 * seconds / updates, 2),
        }
    ]


def _arguments(case: Case, samples: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor | None]:
    return (samples, context) if case.context_dim else (samples[0], None)


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over seeds."""
    columns = ("score_error", "log_prob_bias", "log_prob_error", "effective_samples", "milliseconds")
    table: list[Row] = []
    for case in dict.fromkeys(row["case"] for row in rows):
        chosen = [row for row in rows if row["case"] == case]
        means = {name: float(np.mean([float(row[name]) for row in chosen])) for name in columns}
        table.append({"case": case, "seeds": len(chosen)} | means)
    return table


FIGURE = Figure(runs=runs, run=run, summary=summary, seeds=SEEDS, key=KEY)
