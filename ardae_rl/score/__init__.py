"""AR-DAE: scores, log densities and entropy gradients of distributions known through their samples (torch only)."""

from ardae_rl.score.ardae import ARDAE
from ardae_rl.score.losses import ardae_loss, contrastive_loss, cv_loss, entropy_surrogate, noise_level_loss

__all__ = ["ARDAE", "ardae_loss", "contrastive_loss", "cv_loss", "entropy_surrogate", "noise_level_loss"]
