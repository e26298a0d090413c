"""Expressive maximum-entropy policies for Stable-Baselines3."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ardae_rl.sac_ardae import SACARDAE

__version__ = "0.1.0"

__all__ = ["SACARDAE", "__version__"]


def __getattr__(name: str) -> Any:
    # On first use, so that the estimator (`ardae_rl.score`) can be had without Stable-Baselines3 and Gymnasium.
    if name == "SACARDAE":
        from ardae_rl.sac_ardae import SACARDAE

        return SACARDAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; accepted: {', '.join(__all__)}")
