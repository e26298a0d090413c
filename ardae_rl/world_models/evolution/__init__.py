"""Evolution of controllers by CMA-ES: the distribution, evaluators that play episodes, and the loop."""

from ardae_rl.world_models.evolution.cma import CMAES
from ardae_rl.world_models.evolution.evaluator import Episodes, Evaluator, Returns
from ardae_rl.world_models.evolution.evolve import Evolution, evolve
from ardae_rl.world_models.evolution.process_evaluator import ProcessEvaluator
from ardae_rl.world_models.evolution.ray_evaluator import RayEvaluator
from ardae_rl.world_models.evolution.rollout_evaluator import PopulationPolicy, RolloutEvaluator
from ardae_rl.world_models.seeds import TRAINING_SEEDS

__all__ = [
    "CMAES",
    "TRAINING_SEEDS",
    "Episodes",
    "Evaluator",
    "Evolution",
    "PopulationPolicy",
    "ProcessEvaluator",
    "RayEvaluator",
    "Returns",
    "RolloutEvaluator",
    "evolve",
]
