"""Inverse reinforcement learning: rewards learned from demonstrations by adversarial training."""

from ardae_rl.irl.adversarial import AdversarialIRL
from ardae_rl.irl.airl import AIRL
from ardae_rl.irl.bc import BC
from ardae_rl.irl.files import check_demonstrations, load_trajectories, save_trajectories
from ardae_rl.irl.gail import GAIL
from ardae_rl.irl.gan_gcl import GANGCL
from ardae_rl.irl.reward_nets import BasicRewardNet, RewardNet, ShapedRewardNet
from ardae_rl.irl.sqil import SQIL
from ardae_rl.irl.trajectories import Trajectory, collect_demonstrations

__all__ = [
    "AIRL",
    "BC",
    "GAIL",
    "GANGCL",
    "SQIL",
    "AdversarialIRL",
    "BasicRewardNet",
    "RewardNet",
    "ShapedRewardNet",
    "Trajectory",
    "check_demonstrations",
    "collect_demonstrations",
    "load_trajectories",
    "save_trajectories",
]
