"""The critics of the SAC family, as ``policy_kwargs=dict(critic=...)``: "mlp", "simba" or "crossq"."""

from ardae_rl.common.critics.kinds import CRITICS, CrossQCritics, MLPCritics, SimbaCritics, make_critics
from ardae_rl.common.critics.networks import ResidualBlock
from ardae_rl.common.critics.statistics import (
    BatchRenorm,
    RunningNormalization,
    batch_statistics,
    frozen_statistics,
)

__all__ = [
    "CRITICS",
    "BatchRenorm",
    "CrossQCritics",
    "MLPCritics",
    "ResidualBlock",
    "RunningNormalization",
    "SimbaCritics",
    "batch_statistics",
    "frozen_statistics",
    "make_critics",
]
