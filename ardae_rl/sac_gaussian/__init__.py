"""SAC with SB3's Gaussian policy and a choice of critics."""

from ardae_rl.sac_gaussian.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACGaussianPolicy
from ardae_rl.sac_gaussian.sac_gaussian import SACGaussian

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "SACGaussian", "SACGaussianPolicy"]
