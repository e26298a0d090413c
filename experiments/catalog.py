"""The names of the experiments, and the modules that define them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ardae_rl.common.checks import check_choice

if TYPE_CHECKING:
    from experiments.figure import Figure

EXPERIMENTS = {
    "fig2": "experiments.ardae_paper.fig2",
    "figS1": "experiments.ardae_paper.fig_s1",
    "fig3": "experiments.ardae_paper.fig3",
    "figS2": "experiments.ardae_paper.fig_s2",
    "fig4": "experiments.ardae_paper.fig4",
    "figS4": "experiments.ardae_paper.fig_s4",
    "fig5": "experiments.ardae_paper.fig5",
    "fig7": "experiments.ardae_paper.fig7",
    "table-dbmnist": "experiments.ardae_paper.mnist.dbmnist",
    "table-sbmnist": "experiments.ardae_paper.mnist.sbmnist",
    "dvbf-pendulum": "experiments.state_space.dvbf_pendulum",
    "dvbf-pixels": "experiments.state_space.dvbf_pixels",
    "estimator": "experiments.estimator",
    "correlated": "experiments.correlated",
    "closed_loop": "experiments.closed_loop",
    "frozen_critic": "experiments.frozen_critic",
    "energy_based_gan": "experiments.energy_based_gan",
    "multigoal": "experiments.multigoal",
    "mazes": "experiments.mazes.compare",
    "maze_transfer": "experiments.mazes.transfer",
    "maze_exploration": "experiments.mazes.exploration",
    "maze_front": "experiments.mazes.front",
    "maze_maps": "experiments.mazes.maps",
    "entropy_check": "experiments.entropy_check",
    "moments": "experiments.moments",
    "e2c_control": "experiments.e2c_control",
    "dvbf_control": "experiments.dvbf_control",
    "imitation": "experiments.imitation",
    "imitation_ablation": "experiments.imitation_ablation",
    "imitation_transfer": "experiments.imitation_transfer",
    "latent_control": "experiments.latent_control",
    "stacked_control": "experiments.stacked_control",
    "vision_probe": "experiments.vision_probe",
    "world_model_ablation": "experiments.world_model_ablation",
    "dream_temperature": "experiments.dream_temperature",
    "take_cover": "experiments.take_cover",
    "car_racing": "experiments.car_racing",
    "population": "experiments.timing.population",
    "sac_update": "experiments.timing.sac_update",
    "vae_update": "experiments.timing.vae_update",
    "throughput": "experiments.timing.throughput",
    "profile_update": "experiments.timing.profile_update",
}


def load(name: str) -> Figure:
    """Return the experiment with this name.

    :raises ValueError: For an unknown name.
    """
    check_choice("name", name, EXPERIMENTS)
    figure: Figure = importlib.import_module(EXPERIMENTS[name]).FIGURE
    return figure


def summary_line(name: str) -> str:
    """Return the first line of the docstring of an experiment's module."""
    return (importlib.import_module(EXPERIMENTS[name]).__doc__ or "").strip().partition("\n")[0]
