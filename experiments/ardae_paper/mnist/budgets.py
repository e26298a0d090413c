"""Settings of the runs by budget and method, after Table 6."""

from typing import Any

LATENT_DIM, NOISE_DIM = 32, 100
QUICK: dict[str, Any] = {
    "generated": False,  # whether to use random images instead of MNIST's
    "n_updates": 60_000,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "betas": [0.5, 0.999],
    "decay_from": 0.5,  # fraction of the updates after which learning rates fall
    "last_learning_rate": 0.05,  # fraction of the first
    "last_score_learning_rate": 0.2,  # the estimator must stay faster than the posterior
    "beta_updates": 0,
    "polyak_decay": 0.998,
    "polyak_start": 0,
    "validate_every": 4000,
    "n_valid": 200,
    "n_valid_draws": 200,
    "patience": 0,
    "checkpoint_every": 1000,
    "n_test": 1000,
    "n_draws": 2000,
    "n_annealed": 100,
    "n_temperatures": 50,
    "n_density_updates": 1500,
}
SMOKE = QUICK | {
    "generated": True,
    "n_updates": 4,
    "batch_size": 16,
    "validate_every": 2,
    "n_valid": 4,
    "n_valid_draws": 40,
    "n_test": 6,
    "n_draws": 64,
    "n_annealed": 2,
    "n_temperatures": 3,
    "n_density_updates": 3,
}
PAPER = QUICK | {
    "n_updates": 4_000_000,
    "learning_rate": 1e-4,
    "decay_from": 1.0,
    "last_learning_rate": 1.0,
    "last_score_learning_rate": 1.0,
    "polyak_decay": 0.0,
    "validate_every": 20_000,
    "n_valid": 5000,
    "n_valid_draws": 1000,
    "patience": 25,
    "checkpoint_every": 5000,
    "n_test": 10_000,
    "n_draws": 40_000,
    "n_temperatures": 1000,
    "n_density_updates": 20_000,
}
BUDGETS = {"smoke": SMOKE, "quick": QUICK, "paper": PAPER}

# This package's estimator: a plain score in the frame of the posterior's moments
SCORE: dict[str, Any] = {
    "parameterization": "score",
    "standardize": False,
    "learning_rate": 1e-3,
    "network_kwargs": {"hidden": [128, 128], "context_hidden": []},
}
# The paper's, Table 6, with smaller networks and fewer latents in the quick budget
PAPER_SCORE: dict[str, Any] = {
    "paper": True,
    "averaging": 1,
    "learning_rate": 1e-3,
    "network_kwargs": {"hidden": [128, 128], "context_hidden": [128], "activation": "softplus"},
}
PAPER_NETWORK = {
    "hidden": [256] * 5,
    "context_hidden": [256] * 5,
    "point_hidden": [256] * 5,
    "context_gain": False,
    "activation": "softplus",
}


def run_settings(budget: str, architecture: str, method: str, seed: int) -> dict[str, Any]:
    """Return the settings of a run, except data and device."""
    settings = {
        "name": f"{architecture}_{method}_seed{seed}",
        "architecture": architecture,
        "method": method,
        "seed": seed,
        "networks": {"latent_dim": LATENT_DIM, "noise_dim": NOISE_DIM},
        "entropy": _entropy(budget, architecture, method),
        **BUDGETS[budget],
    }
    if budget == "paper" and architecture == "resconv":
        settings |= {"betas": [0.9, 0.999], "beta_updates": 50_000, "n_draws": 20_000}
    return settings


def _entropy(budget: str, architecture: str, method: str) -> dict[str, Any]:
    """Return the arguments of the entropy gradient."""
    if method in ("gaussian", "hvi_aux"):
        return {}
    paper = budget == "paper"
    if method == "ivi_ardae_paper":
        residual = architecture == "resconv"
        arguments: dict[str, Any] = {"estimator": PAPER_SCORE, "frame": "center", "n_latents": 8}
        if paper:
            network = PAPER_NETWORK | ({"hidden": [512] * 5} if residual else {})
            estimator = PAPER_SCORE | {"learning_rate": 1e-4, "network_kwargs": network}
            if residual:
                estimator |= {"parameterization": "score", "input_scale": 100.0}
            n_latents = 256 if architecture == "conv" else 625
            arguments |= {"estimator": estimator, "n_latents": n_latents, "n_updates": 2}
        return arguments
    arguments = {"frame": "moments", "n_latents": 16 if paper else 4}
    if method == "avb":
        # Mescheder et al. standardize each dimension alone
        network = {"hidden": [128, 128], "context_hidden": [128]}
        return arguments | {"frame": "diagonal", "classifier": network, "learning_rate": 1e-3}
    return arguments | {"estimator": SCORE, "n_images": None if paper else 48}
