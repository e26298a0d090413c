"""Latent dynamics from observations: models that can be planned in."""

from ardae_rl.latent.dvbf import DVBF
from ardae_rl.latent.dvbf_policy import DVBFPolicy
from ardae_rl.latent.e2c import E2C
from ardae_rl.latent.e2c_policy import E2CPolicy
from ardae_rl.latent.linear_gaussian import LinearGaussianSSM
from ardae_rl.latent.transition import LocallyLinearTransition

__all__ = ["DVBF", "E2C", "DVBFPolicy", "E2CPolicy", "LinearGaussianSSM", "LocallyLinearTransition"]
