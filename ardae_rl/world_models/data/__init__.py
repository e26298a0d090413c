"""Episodes on disk: collected by policies, encoded by a vision model, and sampled as frames and sequences."""

from ardae_rl.world_models.data.collect import collect
from ardae_rl.world_models.data.frame_store import Episode, FrameStore
from ardae_rl.world_models.data.latent_store import LatentStore, encode, fingerprint
from ardae_rl.world_models.data.playing import frame_shape
from ardae_rl.world_models.data.sequence_sampler import SequenceBatch, SequenceSampler

__all__ = [
    "Episode",
    "FrameStore",
    "LatentStore",
    "SequenceBatch",
    "SequenceSampler",
    "collect",
    "encode",
    "fingerprint",
    "frame_shape",
]
