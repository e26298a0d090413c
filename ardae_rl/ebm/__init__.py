"""Energy-based models and adversarial training of them; no reinforcement learning."""

from ardae_rl.ebm.gan import EnergyBasedGAN, MarkovChainEBM
from ardae_rl.ebm.partition import PartitionFunction

__all__ = ["EnergyBasedGAN", "MarkovChainEBM", "PartitionFunction"]
