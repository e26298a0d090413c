"""Training of state-space models by the evidence lower bound, annealed as in DVBF."""

from collections.abc import Callable
from typing import Any

import torch as th
from torch.optim.lr_scheduler import CosineAnnealingLR

from ardae_rl.common.training import Stateful
from ardae_rl.dvbf.dynamics import LearnedSSM
from ardae_rl.dvbf.elbo import elbo
from ardae_rl.runs.run import History, Run

_RECORDS = 50


def fit(
    model: LearnedSSM,
    posterior: th.nn.Module,
    x: th.Tensor,
    u: th.Tensor,
    settings: dict[str, Any],
    run: Run,
    validate: Callable[[], dict[str, float]],
) -> History:
    """Train model and posterior on sequences; return about fifty measurements during training.

    :param x: Observations, (n, T + 1, obs_dim).
    :param u: Controls, (n, T, act_dim).
    :param settings: n_updates, batch_size, learning_rate, anneal_updates, and the length of the training windows.
    :param run: The run, from whose checkpoint an interrupted training resumes.
    :param validate: Returns the measurements.
    """
    parameters = [*model.parameters(), *posterior.parameters()]
    optimizer = th.optim.Adam(parameters, lr=settings["learning_rate"])
    n_updates, length, records = settings["n_updates"], settings["length"], History()
    schedule = CosineAnnealingLR(optimizer, n_updates, 0.02 * settings["learning_rate"])
    parts: dict[str, Stateful] = {"model": model, "posterior": posterior, "optimizer": optimizer}
    parts |= {"schedule": schedule, "records": records}
    record_every = max(1, n_updates // _RECORDS)
    for step in run.steps(n_updates, parts):
        rows = th.randint(len(x), (settings["batch_size"],))
        starts = th.randint(x.shape[1] - length + 1, (settings["batch_size"],))
        columns = starts.unsqueeze(1) + th.arange(length)
        rows = rows.unsqueeze(1)
        terms, _ = elbo(model, posterior, x[rows, columns], u[rows, columns[:, :-1]])
        share = min(1.0, 0.01 + step / settings["anneal_updates"])
        bound = share * (terms.reconstruction + terms.log_prior) - terms.log_posterior
        optimizer.zero_grad()
        (-bound.mean() / length).backward()
        th.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        schedule.step()
        if step % record_every == 0 or step + 1 == n_updates:
            records.append({"n_updates": step + 1.0} | validate())
    return records


@th.no_grad()
def bounds(model: LearnedSSM, posterior: th.nn.Module, x: th.Tensor, u: th.Tensor) -> dict[str, float]:
    """Return bound and divergence per step in nats, from one sample per trajectory."""
    terms, _ = elbo(model, posterior, x, u)
    return {"elbo": float(terms.elbo.mean()) / x.shape[1], "kl": float(terms.kl.mean()) / x.shape[1]}
