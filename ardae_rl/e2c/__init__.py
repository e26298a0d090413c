"""Embed to Control: locally linear latent dynamics of images, and planning in them."""

from ardae_rl.e2c.e2c import E2C
from ardae_rl.e2c.policies import E2CPolicy
from ardae_rl.e2c.transition import LocallyLinearTransition

__all__ = ["E2C", "E2CPolicy", "LocallyLinearTransition"]
