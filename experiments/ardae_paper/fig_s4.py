"""Figure S4: the implicit sampler of Figure 4, by number of score updates (N_d) and dimension of the noise (d_z)."""

from typing import Any

from experiments.ardae_paper.fig4 import BUDGETS, IMPLICIT, OURS, draw, fits, run, summary
from experiments.figure import Figure

SEEDS = {"smoke": 1, "quick": 1, "paper": 3}
_VARIANTS = [(1, 10), (2, 10), (5, 10), (5, 3), (5, 2)]  # N_d, d_z
METHODS = {
    f"$N_d$ = {n_updates}, $d_z$ = {noise_dim}": IMPLICIT
    | OURS
    | {"n_score_updates": n_updates, "noise_dim": noise_dim}
    for n_updates, noise_dim in _VARIANTS
}
_SHORTER = {"n_updates": 4000, "anneal_updates": 2000, "decay_updates": 600}


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return fits(METHODS, BUDGETS[budget] | (_SHORTER if budget == "quick" else {}), n_seeds)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
