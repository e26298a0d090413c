"""Planning by sampling: the cross-entropy method, and path integral control."""

import torch as th

from ardae_rl.common.checks import check_between, check_count, check_positive
from ardae_rl.planning.problem import (
    Plan,
    Problem,
    action_bounds,
    initial_plan,
    nan_as_infinite,
    rollout,
    with_numbers,
)


class _Sampling:
    """Samples action sequences around a mean, and moves the mean towards the better ones.

    :param horizon: Number of steps of a plan.
    :param n_samples: Number of sequences per problem and iteration.
    :param n_iterations: Number of iterations.
    :param deviation: Initial standard deviation of actions, as a fraction of half their range.
    """

    def __init__(self, horizon: int, n_samples: int, n_iterations: int, deviation: float) -> None:
        for name, value in {"horizon": horizon, "n_samples": n_samples, "n_iterations": n_iterations}.items():
            check_count(name, value)
        check_positive("deviation", deviation)
        self.horizon, self.n_samples, self.n_iterations, self.deviation = horizon, n_samples, n_iterations, deviation

    @th.no_grad()
    def plan(
        self,
        problem: Problem,
        start: th.Tensor,
        warm: th.Tensor | None = None,
        generator: th.Generator | None = None,
    ) -> Plan:
        """Return the best sequences tried; the arguments are those of :class:`~ardae_rl.planning.problem.Planner`."""
        n, device = len(start), start.device
        low, high = action_bounds(problem, start)
        mean = initial_plan(problem, start, self.horizon, warm)
        std = (0.5 * self.deviation * (high - low)).expand(mean.shape)
        best = Plan(mean, rollout(problem, start, mean)[1])
        states = start.repeat_interleave(self.n_samples, 0)
        for _ in range(self.n_iterations):
            # Shared by all rows, so that the plan of a row does not depend on its position in the batch
            noise = th.randn((1, self.n_samples, *mean.shape[1:]), generator=generator, dtype=mean.dtype).to(device)
            samples = (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(low, high)
            found = rollout(problem, states, samples.flatten(0, 1))[1].view(n, -1)
            costs = nan_as_infinite(found)
            mean, std = self._move(samples, costs, std)
            rows, cheapest = th.arange(n, device=device), costs.argmin(1)
            best = _better(best, Plan(samples[rows, cheapest], found[rows, cheapest]))
        return with_numbers(_better(best, Plan(mean, rollout(problem, start, mean)[1])))

    def _move(self, samples: th.Tensor, costs: th.Tensor, std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return the new mean and standard deviation, (n, horizon, action_dim) each.

        :param samples: (n, n_samples, horizon, action_dim).
        :param costs: (n, n_samples).
        :param std: Current standard deviation, (n, horizon, action_dim).
        """
        raise NotImplementedError


class CEM(_Sampling):
    """The cross-entropy method: mean and standard deviation become those of the best samples (Rubinstein 1999).

    Example:

    >>> from ardae_rl.planning import CEM
    >>> planner = CEM(horizon=10, n_samples=64, n_elites=8)

    :param horizon: Number of steps of a plan.
    :param n_samples: Number of sequences per problem and iteration.
    :param n_iterations: Number of iterations.
    :param n_elites: Number of best samples to which the Gaussian is refitted.
    :param deviation: Initial standard deviation of actions, as a fraction of half their range.
    :raises ValueError: If an argument is out of its range.
    """

    def __init__(
        self, horizon: int, n_samples: int = 256, n_iterations: int = 6, n_elites: int = 32, deviation: float = 1.0
    ) -> None:
        super().__init__(horizon, n_samples, n_iterations, deviation)
        check_count("n_elites", n_elites)
        check_between("n_elites", n_elites, 2, n_samples)
        self.n_elites = n_elites

    def _move(self, samples: th.Tensor, costs: th.Tensor, std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        elites = costs.topk(self.n_elites, largest=False).indices
        chosen = samples[th.arange(len(samples), device=samples.device).unsqueeze(1), elites]
        return chosen.mean(1), chosen.std(1)


class MPPI(_Sampling):
    """Model predictive path integral control, a mean of samples weighted by exp(-cost / λ) (Williams et al. 2017).

    Example:

    >>> from ardae_rl.planning import MPPI
    >>> planner = MPPI(horizon=10, n_samples=64)

    :param horizon: Number of steps of a plan.
    :param n_samples: Number of sequences per problem and iteration.
    :param n_iterations: Number of iterations.
    :param temperature: λ, in units of the costs' standard deviation among the samples of a problem.
    :param deviation: Initial standard deviation of actions, as a fraction of half their range.
    :raises ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        horizon: int,
        n_samples: int = 256,
        n_iterations: int = 6,
        temperature: float = 0.1,
        deviation: float = 0.5,
    ) -> None:
        super().__init__(horizon, n_samples, n_iterations, deviation)
        check_positive("temperature", temperature)
        self.temperature = temperature

    def _move(self, samples: th.Tensor, costs: th.Tensor, std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        finite = costs.isfinite()
        n_finite = finite.sum(1, keepdim=True)
        mean = th.where(finite, costs, 0.0).sum(1, keepdim=True) / n_finite
        variance = th.where(finite, costs - mean, 0.0).square().sum(1, keepdim=True) / (n_finite - 1).clamp_min(1)
        spread = variance.sqrt().clamp_min(1e-12)
        scaled = th.where(finite, (costs - mean) / (self.temperature * spread), th.inf)
        # If no sample has a finite cost, all have equal weights
        weights = th.where(n_finite > 0, -scaled, 0.0).softmax(1)
        return (weights[..., None, None] * samples).sum(1), std


def _better(a: Plan, b: Plan) -> Plan:
    # A NaN cost is worse than any other
    first = ~(b.costs < a.costs) & ~(a.costs.isnan() & ~b.costs.isnan())
    return Plan(th.where(first[:, None, None], a.actions, b.actions), th.where(first, a.costs, b.costs))
