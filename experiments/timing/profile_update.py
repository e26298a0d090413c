"""Where the time of one default gradient step goes.

    python -m experiments.timing.profile_update [--repeats 60]

HalfCheetah's sizes, batch 256, one thread; CPU milliseconds of each part, medians over gradient steps. Backward passes
and optimizers are counted in the update that they belong to, and again on lines of their own (in brackets: contained in
others). Written to results/profile_update.csv.
"""

import argparse
import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch as th
from rich.console import Console
from rich.table import Table

from ardae_rl.common import training
from ardae_rl.runs.tables import merge_csv, versions
from experiments.common import RESULTS
from experiments.timing.sac_update import WARM_UP, Case, make_case


class Stopwatch:
    """CPU milliseconds by label, from functions wrapped by it."""

    def __init__(self) -> None:
        self.times: defaultdict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, name: str, label: str) -> Any:
        """A patch under which calls of ``owner.name`` are timed."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self.times[label] += 1e3 * (time.process_time() - start)
            return result

        return mock.patch.object(owner, name, timed)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: at least 1")

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
        (model.policy, "frame", "(sigma-point frames)"),
        (th.Tensor, "backward", "(backward passes)"),
        (model.estimator.optimizer, "step", "(optimizer steps)"),
        (model.actor.optimizer, "step", "(optimizer steps)"),
        (model.critic.optimizer, "step", "(optimizer steps)"),
        (training.MetricMeans, "finite", "metrics"),
    ]
    times: defaultdict[str, list[float]] = defaultdict(list)
    for patch in [watch.wrap(*part) for part in parts]:
        patch.start()
    for repeat in range(WARM_UP + options.repeats):
        watch.times.clear()
        model.train(1, 256)
        if repeat >= WARM_UP:
            for label, value in watch.times.items():
                times[label].append(value)
    mock.patch.stopall()

    medians = {label: statistics.median(values) for label, values in times.items()}
    whole = medians["gradient step"]
    table = Table("part", "CPU ms", "share", title="One default gradient step, median")
    rows = []
    for label in dict.fromkeys(label for *_, label in parts):
        ms = medians[label]
        table.add_row(label, f"{ms:.2f}", f"{ms / whole:.0%}")
        row = {"part": label, "cpu_ms": f"{ms:.3f}", "share": f"{ms / whole:.3f}", "repeats": options.repeats}
        rows.append(row | {"threads": 1} | versions())
    console = Console()
    console.print(table)
    path = options.out / "profile_update.csv"
    merge_csv(path, rows, key=["part"])
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
