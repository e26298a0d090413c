"""The loop that trains vision and memory: resumable, with metrics, the same after an interruption."""

from collections.abc import Callable, Mapping

import numpy as np
import torch as th
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from ardae_rl.common.checks import check_positive
from ardae_rl.common.training import MetricMeans, Stateful
from ardae_rl.runs.progress import progress_bar
from ardae_rl.runs.run import History, Run

Metrics = dict[str, th.Tensor]


def fit(
    model: nn.Module,
    loss: Callable[[np.random.Generator], tuple[th.Tensor, Metrics]],
    run: Run,
    *,
    name: str,
    n_steps: int,
    learning_rate: float,
    final_learning_rate: float | None = None,
    gradient_norm: float = float("inf"),
    seed: int = 0,
    validate: Callable[[], dict[str, float]] | None = None,
    every: int = 200,
    others: Mapping[str, Stateful] | None = None,
    on_row: Callable[[dict[str, float]], None] | None = None,
    progress: bool = False,
) -> History:
    """Adam's steps on a loss, with a learning rate that falls along a cosine.

    :param model: what is trained, and part of the checkpoint ``<name>.pt`` in the run's folder
    :param loss: loss and metrics of a batch drawn with a generator, which depends on the seed and the step alone, as
        torch's random numbers then do
    :param run: where it goes on, if the checkpoint is there
    :param final_learning_rate: at the end; the same as at the start if None
    :param gradient_norm: to which longer gradients are cut
    :param validate: numbers after every ``every`` steps
    :param others: further parts of the checkpoint, which the loss changes
    :param on_row: takes each row
    :param progress: whether to show a progress bar
    :return: rows of step, means of the metrics since the last row, and what ``validate`` gave
    :raises ValueError: for arguments outside of what is accepted, or if a metric is not finite
    """
    for argument, number in {"n_steps": n_steps, "learning_rate": learning_rate, "every": every}.items():
        check_positive(argument, number)
    optimizer = th.optim.Adam(model.parameters(), lr=learning_rate)
    least = learning_rate if final_learning_rate is None else final_learning_rate
    schedule = CosineAnnealingLR(optimizer, n_steps, least)
    records, metrics = History(), MetricMeans()
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "schedule": schedule, "records": records}
    parts |= others or {}
    with th.random.fork_rng(), progress_bar(f"{name}: steps", n_steps, progress) as update:
        for step in run.steps(n_steps, parts, checkpoint=name, every=every):
            update(step)
            rng = np.random.default_rng([seed, step])
            th.manual_seed(int(rng.integers(2**62)))
            value, terms = loss(rng)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), gradient_norm)
            optimizer.step()
            schedule.step()
            metrics.add({**terms, f"{name}_loss": value.detach()})
            if (step + 1) % every == 0 or step + 1 == n_steps:
                row = {"step": float(step + 1), **metrics.finite(f"{step + 1} steps")}
                records.append(row | (validate() if validate is not None else {}))
                metrics = MetricMeans()
                if on_row is not None:
                    on_row(records[-1])
        update(n_steps)
    return records
