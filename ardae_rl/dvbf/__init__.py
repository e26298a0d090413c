"""Deep Variational Bayes Filters: latent state-space models learned from sequences, and planning in them."""

from ardae_rl.dvbf.dvbf import DVBF
from ardae_rl.dvbf.linear_gaussian import LinearGaussianSSM
from ardae_rl.dvbf.policies import DVBFPolicy

__all__ = ["DVBF", "DVBFPolicy", "LinearGaussianSSM"]
