"""SAC with an implicit policy trained by AR-DAE score estimates."""

from ardae_rl.sac_ardae.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACARDAEPolicy
from ardae_rl.sac_ardae.sac_ardae import SACARDAE

__all__ = ["SACARDAE", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "SACARDAEPolicy"]
