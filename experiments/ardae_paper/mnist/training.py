"""Training of an autoencoder: annealing, averaged weights, validation and early stopping."""

import copy
import time
from typing import Any

import torch as th
from torch import nn

from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import History, Run
from experiments.ardae_paper.mnist.autoencoder import Autoencoder
from experiments.ardae_paper.mnist.bounds import EstimatedBound
from experiments.ardae_paper.mnist.data import Split, batches
from experiments.ardae_paper.mnist.evaluation import evaluate_images, laplace_estimate
from experiments.ardae_paper.mnist.methods import Trainee

_MAX_GRAD_NORM = 1000.0  # a safeguard: typical norms are 30 to 130


class Schedule:
    """Learning rates that are constant at first and then decay linearly to a fraction of their first value.

    :param optimizers: The optimizers with the fractions that they decay to.
    :param n_updates: Number of updates in all.
    :param decay_from: Fraction of the updates after which the decay begins.
    """

    def __init__(self, optimizers: dict[th.optim.Optimizer, float], n_updates: int, decay_from: float) -> None:
        self.optimizers, self.n_updates, self.decay_from = optimizers, n_updates, decay_from
        self.first = {optimizer: optimizer.param_groups[0]["lr"] for optimizer in optimizers}

    def set(self, step: int) -> None:
        """Set the learning rates of a step."""
        progress = max(0.0, step / self.n_updates - self.decay_from) / max(1 - self.decay_from, 1e-9)
        for optimizer, last in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.first[optimizer] * (1 + progress * (last - 1))


class AveragedModel:
    """Running averages of weights (Polyak and Juditsky 1992), and the best of them by validation.

    :param model: The module.
    :param decay: Decay of the average.
    :param start: Number of updates before the average begins.
    """

    def __init__(self, model: nn.Module, decay: float, start: int) -> None:
        self.decay, self.start = decay, start
        self.average: Any = copy.deepcopy(model).requires_grad_(False)
        self.best = copy.deepcopy(self.average)

    @th.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average after a step."""
        weight = 1.0 if step < self.start else max(1 - self.decay, 1 / (step - self.start + 2))
        th._foreach_lerp_(list(self.average.parameters()), list(model.parameters()), weight)

    def keep(self) -> None:
        """Record the current average as the best one."""
        self.best.load_state_dict(self.average.state_dict())


def train(
    trainee: Trainee,
    settings: dict[str, Any],
    split: Split,
    run: Run,
    *,
    select: bool = True,
    checkpoint: str = "checkpoint",
) -> History:
    """Train, and return the records of the validations.

    :param trainee: Autoencoder and bound. At the end, they have the averaged weights with the best validation.
    :param settings: Settings of the run, see :mod:`~experiments.ardae_paper.mnist.budgets`.
    :param split: The images.
    :param run: The run. If validations fall on checkpoints, it has one afterwards, even after early stopping.
    :param select: Whether to validate. Without validation, training makes all updates and keeps the last averaged
        weights, and the records have only times.
    :param checkpoint: Name of the checkpoint.
    """
    keep_freed_memory()
    model, bound = trainee
    trained = trainee.trained()
    parameters = list(trained.parameters())
    optimizer = th.optim.Adam(parameters, settings["learning_rate"], tuple(settings["betas"]), fused=True)
    optimizers: dict[th.optim.Optimizer, float] = {optimizer: settings["last_learning_rate"]}
    averages = AveragedModel(trained, settings["polyak_decay"], settings["polyak_start"])
    records = History()
    parts: dict[str, Stateful] = {"model": model, "bound": bound, "optimizer": optimizer, "records": records}
    parts |= {"average": averages.average, "best": averages.best}
    if isinstance(bound, EstimatedBound):
        parts["entropy_optimizer"] = bound.entropy.optimizer
        optimizers[bound.entropy.optimizer] = settings["last_score_learning_rate"]
    n_updates = settings["n_updates"]
    schedule = Schedule(optimizers, n_updates, settings["decay_from"])
    images: Any = None
    # CPU time, because other programs may share the CPU; but a GPU works while the CPU waits
    now = time.process_time if split.train.device.type == "cpu" else time.perf_counter
    clock, since = now(), 0
    for step in run.steps(n_updates, parts, checkpoint=checkpoint, every=settings["checkpoint_every"]):
        if step % settings["validate_every"] == 0 and _stalled(records, settings["patience"]):
            break  # only here, where the steps before may have been saved
        if images is None:  # the first step is known only now: a resumed run continues with the next batch
            images = batches(split.train, settings["batch_size"], settings["seed"], start=step)
            clock, since = now(), step
        schedule.set(step)
        beta = min(1.0, (step + 1) / settings["beta_updates"]) if settings["beta_updates"] else 1.0
        loss = -bound.objective(next(images), beta)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, _MAX_GRAD_NORM)
        optimizer.step()
        averages.update(trained, step)
        if (step + 1) % settings["validate_every"] == 0 or step + 1 == n_updates:
            record = {"n_updates": step + 1.0, "timed_updates": step + 1.0 - since, "seconds": now() - clock}
            if select:
                record |= _validate(averages.average[0], split, settings)
                run.report(step, n_updates, f"validation ln p {record['log_prob']:.2f}")
            records.append(record)
            if not select or best_record(records) is record:
                averages.keep()
            clock, since = now(), step + 1
    trained.load_state_dict(averages.best.state_dict())
    return records


def best_record(records: History) -> dict[str, float]:
    """Return the record with the best validation, the first if there are several."""
    return max(records, key=lambda record: record["log_prob"])


def _validate(model: Autoencoder, split: Split, settings: dict[str, Any]) -> dict[str, float]:
    """Return the mean estimated ln p(x) of validation images, without affecting the random numbers of training."""
    n = settings["n_valid_draws"]
    images = split.valid[: settings["n_valid"]]
    with th.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        th.manual_seed(0)
        result = evaluate_images(lambda x: laplace_estimate(model, x, n), images)
    return {"log_prob": float(result.log_prob.mean())}


def _stalled(records: History, patience: int) -> bool:
    """Return whether the last ``patience`` validations were no better than the best one before; 0 for never."""
    if not 0 < patience < len(records):
        return False
    values = [record["log_prob"] for record in records]
    return max(values[-patience:]) <= max(values[:-patience])
