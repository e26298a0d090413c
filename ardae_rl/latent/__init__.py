"""Latent dynamics from observations: models that can be planned in."""

from ardae_rl.latent.transition import LocallyLinearTransition

__all__ = ["LocallyLinearTransition"]
