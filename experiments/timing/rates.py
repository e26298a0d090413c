"""Rates of environment steps, for the experiments that compare them."""

import statistics
import time
from collections.abc import Callable, Mapping

from ardae_rl.runs.run import Run


def median_rates(cases: Mapping[str, Callable[[], int]], n_rounds: int, run: Run) -> dict[str, float]:
    """Return the median number of steps per second of each case. The cases take turns in each round.

    :param cases: Functions that make some steps and return their number.
    """
    rates: dict[str, list[float]] = {case: [] for case in cases}
    for round_ in range(n_rounds):
        for case, play in cases.items():
            start = time.perf_counter()
            n = play()
            rates[case].append(n / (time.perf_counter() - start))
        run.report(round_ + 1, n_rounds)
    return {case: statistics.median(values) for case, values in rates.items()}
