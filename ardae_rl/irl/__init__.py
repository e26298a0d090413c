"""Inverse reinforcement learning and energy-based models, as one system."""

from ardae_rl.irl.airl import AIRL
from ardae_rl.irl.gail import GAIL
from ardae_rl.irl.gan_gcl import GANGCL
from ardae_rl.irl.reward_nets import BasicRewardNet, RewardNet, ShapedRewardNet
from ardae_rl.irl.trajectories import Trajectory, collect_demonstrations, load_trajectories, save_trajectories

__all__ = [
    "AIRL",
    "GAIL",
    "GANGCL",
    "BasicRewardNet",
    "RewardNet",
    "ShapedRewardNet",
    "Trajectory",
    "collect_demonstrations",
    "load_trajectories",
    "save_trajectories",
]
