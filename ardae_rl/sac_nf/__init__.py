"""SAC with a normalizing-flow policy (Mazoure et al. 2019), the baseline of SAC-AR-DAE."""

from ardae_rl.sac_nf.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACNFPolicy
from ardae_rl.sac_nf.sac_nf import SACNF

__all__ = ["SACNF", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "SACNFPolicy"]
