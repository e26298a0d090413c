"""Energy-based models of data in R^d, without reinforcement learning."""

from ardae_rl.ebm.contrastive_divergence import MarkovChainEBM
from ardae_rl.ebm.gan import EnergyBasedGAN
from ardae_rl.ebm.partition import PartitionFunction

__all__ = ["EnergyBasedGAN", "MarkovChainEBM", "PartitionFunction"]
