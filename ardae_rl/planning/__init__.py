"""Planners that optimize actions in a model, by linearizing it or by sampling."""

from ardae_rl.planning.ilqr import ILQR
from ardae_rl.planning.lqr import Gains, finite_horizon_lqr
from ardae_rl.planning.problem import Plan, Planner, Problem, rollout
from ardae_rl.planning.sampling import CEM, MPPI

__all__ = ["CEM", "ILQR", "MPPI", "Gains", "Plan", "Planner", "Problem", "finite_horizon_lqr", "rollout"]
