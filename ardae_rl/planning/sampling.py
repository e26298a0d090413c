"""Plans found by trying: the cross-entropy method, and path integral control."""

import torch as th

from ardae_rl.common.checks import check_positive
from ardae_rl.planning.problem import Plan, Problem, first_guess, rollout


class _Sampling:
    """Sequences of actions drawn around a mean that moves to the better ones.

    :param horizon: steps of a plan
    :param n_samples: sequences tried for each problem, in each iteration
    :param n_iterations: moves of the mean
    :param deviation: first standard deviation of actions, as a share of half their range
    """

    def __init__(self, horizon: int, n_samples: int, n_iterations: int, deviation: float) -> None:
        for name, value in {
            "horizon": horizon,
            "n_samples": n_samples,
            "n_iterations": n_iterations,
            "deviation": deviation,
        }.items():
            check_positive(name, value)
        self.horizon, self.n_samples, self.n_iterations, self.deviation = horizon, n_samples, n_iterations, deviation

    @th.no_grad()
    def plan(
        self,
        problem: Problem,
        start: th.Tensor,
        warm: th.Tensor | None = None,
        generator: th.Generator | None = None,
    ) -> Plan:
        """See :class:`~ardae_rl.planning.problem.Planner`; the best of all that was tried, means among them."""
        n, device = len(start), start.device
        mean = first_guess(problem, n, self.horizon, warm)
        std = (0.5 * self.deviation * (problem.high - problem.low)).expand(mean.shape)
        best = Plan(mean, rollout(problem, start, mean)[1])
        states = start.repeat_interleave(self.n_samples, 0)
        for _ in range(self.n_iterations):
            noise = th.randn((n, self.n_samples, *mean.shape[1:]), generator=generator, dtype=mean.dtype).to(device)
            samples = (mean.unsqueeze(1) + std.unsqueeze(1) * noise).clamp(problem.low, problem.high)
            costs = rollout(problem, states, samples.flatten(0, 1))[1].view(n, -1).nan_to_num(nan=th.inf)
            mean, std = self._move(samples, costs, std)
            least = costs.argmin(1)
            best = _better(best, Plan(samples[th.arange(n, device=device), least], costs.amin(1)))
        return _better(best, Plan(mean, rollout(problem, start, mean)[1]))

    def _move(self, samples: th.Tensor, costs: th.Tensor, std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """The new mean and standard deviation, (n, horizon, action_dim).

        :param samples: (n, n_samples, horizon, action_dim)
        :param costs: (n, n_samples)
        """
        raise NotImplementedError


class CEM(_Sampling):
    """The cross-entropy method: mean and deviation become those of the best samples (Rubinstein 1999).

    :param n_elites: how many are the best
    :raises ValueError: for numbers that are not accepted
    """

    def __init__(
        self, horizon: int, n_samples: int = 256, n_iterations: int = 6, n_elites: int = 32, deviation: float = 1.0
    ) -> None:
        super().__init__(horizon, n_samples, n_iterations, deviation)
        if not 2 <= n_elites <= n_samples:
            raise ValueError(f"n_elites={n_elites!r}: accepted are 2 to n_samples={n_samples}")
        self.n_elites = n_elites

    def _move(self, samples: th.Tensor, costs: th.Tensor, std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        elites = costs.topk(self.n_elites, largest=False).indices
        chosen = samples[th.arange(len(samples), device=samples.device).unsqueeze(1), elites]
        return chosen.mean(1), chosen.std(1)


class MPPI(_Sampling):
    """Model predictive path integral control: the mean of the samples, weighted by exp(-cost / λ) (Williams 2017).

    :param temperature: λ, in units of the costs' standard deviation among a problem's samples
    :raises ValueError: for numbers that are not accepted
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
        spread = th.where(finite, costs, 0.0).std(1, keepdim=True).clamp_min(1e-12)
        weights = (-(costs - costs.amin(1, keepdim=True)) / (self.temperature * spread)).softmax(1)
        return (weights[..., None, None] * samples).sum(1), std


def _better(a: Plan, b: Plan) -> Plan:
    first = ~(b.costs < a.costs)  # also where b's is no number
    return Plan(th.where(first[:, None, None], a.actions, b.actions), th.where(first, a.costs, b.costs))
