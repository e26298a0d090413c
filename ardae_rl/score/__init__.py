"""AR-DAE: scores, log-densities and entropy gradients of distributions known through their samples (torch only)."""

from ardae_rl.score.ardae import ARDAE
from ardae_rl.score.losses import (
    ardae_loss,
    contrastive_loss,
    cv_loss,
    entropy_surrogate,
    mixture_score,
    noise_level_loss,
    own_noise_loss,
)
from ardae_rl.score.normalizers import IMMSE, Contrastive, Dual, Importance, Normalizer
from ardae_rl.score.objective import NoiseScale

__all__ = [
    "ARDAE",
    "IMMSE",
    "Contrastive",
    "Dual",
    "Importance",
    "NoiseScale",
    "Normalizer",
    "ardae_loss",
    "contrastive_loss",
    "cv_loss",
    "entropy_surrogate",
    "mixture_score",
    "noise_level_loss",
    "own_noise_loss",
]
