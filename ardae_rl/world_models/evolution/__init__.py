"""Controllers evolved by CMA-ES: the distribution, what plays the episodes, and the loop over generations."""

from ardae_rl.world_models.evolution.base import Episodes, Evaluator, Returns
from ardae_rl.world_models.evolution.cma import CMAES
from ardae_rl.world_models.evolution.evaluate import Pilot, RolloutEvaluator
from ardae_rl.world_models.evolution.evolve import TRAINING_SEEDS, Evolution, evolve
from ardae_rl.world_models.evolution.processes import ProcessEvaluator
from ardae_rl.world_models.evolution.ray_evaluator import RayEvaluator

__all__ = [
    "CMAES",
    "TRAINING_SEEDS",
    "Episodes",
    "Evaluator",
    "Evolution",
    "Pilot",
    "ProcessEvaluator",
    "RayEvaluator",
    "Returns",
    "RolloutEvaluator",
    "evolve",
]
