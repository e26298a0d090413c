"""Embed to Control: locally linear latent dynamics learned from images, and planning in the latent space."""

from ardae_rl.e2c.e2c import E2C
from ardae_rl.e2c.loss import E2CLoss
from ardae_rl.e2c.policies import E2CPolicy
from ardae_rl.e2c.transition import LocallyLinearTransition

__all__ = ["E2C", "E2CLoss", "E2CPolicy", "LocallyLinearTransition"]
