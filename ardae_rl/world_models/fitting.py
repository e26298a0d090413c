"""The loop that trains vision and memory. Interrupting and resuming it does not change the result."""

from collections.abc import Callable, Mapping

import numpy as np
import torch as th
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from ardae_rl.common.checks import check_count, check_positive
from ardae_rl.common.training import MetricMeans, Stateful
from ardae_rl.runs.progress import progress_bar
from ardae_rl.runs.run import History, Run

Metrics = dict[str, th.Tensor]
OnRow = Callable[[dict[str, float]], None] | None


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
    on_row: OnRow = None,
    progress: bool = False,
) -> History:
    """Minimize a loss with Adam and a cosine learning rate schedule.

    :param model: Module to train, which is saved in the checkpoint ``<name>.pt`` in the run's folder.
    :param loss: Function that returns the loss and the metrics of a batch drawn with the given generator. This
        generator and torch's depend only on the seed and the step.
    :param run: Run to resume, if it has the checkpoint.
    :param name: Name of the checkpoint, the progress bar and the metric ``<name>_loss``.
    :param n_steps: Number of gradient steps.
    :param learning_rate: Initial learning rate.
    :param final_learning_rate: Final learning rate; None to keep the initial one.
    :param gradient_norm: Maximum norm of the gradient.
    :param seed: Seed of the batches and of torch's random numbers.
    :param validate: Function that returns further metrics, called every ``every`` steps.
    :param every: Number of steps between two rows, and between two checkpoints.
    :param others: Further parts of the checkpoint, whose state the loss changes.
    :param on_row: Called with each row.
    :param progress: Whether to show a progress bar.
    :return: Rows with the step, the means of the metrics since the last row, and the metrics of ``validate``.
    :raises ValueError: For a number that is not positive, or if a metric is not finite.
    """
    check_count("n_steps", n_steps)
    check_count("every", every)
    check_positive("learning_rate", learning_rate)
    optimizer = th.optim.Adam(model.parameters(), lr=learning_rate)
    final_learning_rate = learning_rate if final_learning_rate is None else final_learning_rate
    schedule = CosineAnnealingLR(optimizer, n_steps, final_learning_rate)
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
