"""World Models (Ha and Schmidhuber 2018): a vision model, a memory and a controller, trained in stages."""

from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.world_models import WorldModels

__all__ = ["WorldModelPolicy", "WorldModels"]
