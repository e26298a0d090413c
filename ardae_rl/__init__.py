"""Expressive maximum-entropy policies for Stable-Baselines3."""

import importlib
from typing import TYPE_CHECKING, Any

from ardae_rl.version import __version__

if TYPE_CHECKING:
    from ardae_rl.dvbf import DVBF
    from ardae_rl.e2c import E2C
    from ardae_rl.ebm import EnergyBasedGAN
    from ardae_rl.irl import AIRL, BC, GAIL, GANGCL, SQIL
    from ardae_rl.sac_ardae import SACARDAE
    from ardae_rl.sac_gaussian import SACGaussian
    from ardae_rl.sac_nf import SACNF
    from ardae_rl.world_models import WorldModels

__all__ = [
    "AIRL",
    "BC",
    "DVBF",
    "E2C",
    "GAIL",
    "GANGCL",
    "SACARDAE",
    "SACNF",
    "SQIL",
    "EnergyBasedGAN",
    "SACGaussian",
    "WorldModels",
    "__version__",
]

_MODULES = {
    "AIRL": "ardae_rl.irl",
    "BC": "ardae_rl.irl",
    "SQIL": "ardae_rl.irl",
    "GAIL": "ardae_rl.irl",
    "GANGCL": "ardae_rl.irl",
    "EnergyBasedGAN": "ardae_rl.ebm",
    "DVBF": "ardae_rl.dvbf",
    "E2C": "ardae_rl.e2c",
    "SACARDAE": "ardae_rl.sac_ardae",
    "SACNF": "ardae_rl.sac_nf",
    "SACGaussian": "ardae_rl.sac_gaussian",
    "WorldModels": "ardae_rl.world_models",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the estimator (`ardae_rl.score`) works without Stable-Baselines3 and Gymnasium.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
