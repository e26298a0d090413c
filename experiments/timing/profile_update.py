"""Where the time of one default gradient step of SACARDAE goes.

HalfCheetah's sizes, batch size 256, one thread; CPU milliseconds of each part, medians over gradient steps. Backward
passes and optimizers are counted in the update that they belong to, and again in rows of their own; the names of rows
that other rows contain are in parentheses.
"""

import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch as th

from ardae_rl.common import training
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure
from experiments.timing.sac_update import WARM_UP, Case, make_case


class Stopwatch:
    """Add up CPU milliseconds by label, of the functions that it wraps."""

    def __init__(self) -> None:
        self.times: defaultdict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, name: str, label: str) -> Any:
        """Return a patch under which calls of ``owner.name`` are timed."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self.times[label] += 1e3 * (time.process_time() - start)
            return result

        return mock.patch.object(owner, name, timed)


BUDGETS = {"smoke": {"repeats": 2}, "quick": {"repeats": 60}}


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [{"name": "default"} | BUDGETS[budget]]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    repeats = settings["repeats"]
    th.set_num_threads(1)
    model: Any = make_case(Case("SACARDAE", "sac_ardae"))
    watch = Stopwatch()
    parts = [
        (model, "train", "gradient step"),
        (model.replay_buffer, "sample", "replay batch"),
        (model, "_encode_states", "states: features, embedding, frame"),
        (model, "update_score", "score"),
        (model, "_score_samples", "(score: samples)"),
        (model.estimator, "_score_terms", "(score: losses, forward)"),
        (model, "update_critic", "critic"),
        (model, "target_q_values", "(critic: targets)"),
        (model, "update_actor", "actor"),
        (model, "_actor_loss", "(actor: loss, forward)"),
        (model, "update_temperature", "temperature"),
        (model.actor, "frame", "(frames)"),
        (th.Tensor, "backward", "(backward passes)"),
        (model.estimator.optimizer, "step", "(optimizer steps)"),
        (model.actor.optimizer, "step", "(optimizer steps)"),
        (model.critic.optimizer, "step", "(optimizer steps)"),
        (training.MetricMeans, "finite", "metrics"),
    ]
    times: defaultdict[str, list[float]] = defaultdict(list)
    for patch in [watch.wrap(*part) for part in parts]:
        patch.start()
    for repeat in range(WARM_UP + repeats):
        watch.times.clear()
        model.train(1, 256)
        if repeat >= WARM_UP:
            for label, value in watch.times.items():
                times[label].append(value)
    mock.patch.stopall()

    medians = {label: statistics.median(values) for label, values in times.items()}
    key = {"repeats": repeats, "threads": 1}
    return [
        {"part": label, "cpu_ms": f"{ms:.3f}", "share": f"{ms / medians['gradient step']:.3f}"} | key
        for label, ms in ((label, medians[label]) for label in dict.fromkeys(label for *_, label in parts))
    ]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("part", "cpu_ms", "share"),
    seeds={"smoke": 0, "quick": 0},
    key=("part", "repeats", "threads"),
    timed=True,
)
