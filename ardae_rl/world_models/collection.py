"""Data collection of World Models: the store of the episodes, and the policies that play them."""

from pathlib import Path

import numpy as np
from gymnasium import spaces

from ardae_envs.collection import Mixture, RandomWeights, StickyRandom, SupportsPredict
from ardae_rl.world_models.data import FrameStore
from ardae_rl.world_models.frame_policy import Decisions
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.vision import SIZE


def open_store(policy: WorldModelPolicy, folder: str | Path) -> FrameStore:
    """Open or create the store of frames, which are preprocessed for the policy's vision model.

    :raises ValueError: If the folder was filled with other frames, or with other actions.
    """
    preprocessing = f"{policy.cropped_rows} rows cropped from below, bilinear to {SIZE} x {SIZE}"
    if policy.action_repeat > 1:
        preprocessing += f", actions held for {policy.action_repeat} steps"
    return FrameStore(folder, (SIZE, SIZE, 3), policy.action_space, preprocessing)


def collection_policy(policy: WorldModelPolicy, iteration: int, seed: int) -> SupportsPredict:
    """Return a mixture of random policies; after the first round, ``policy`` plays half of the episodes.

    :param iteration: Number of rounds before this one.
    """
    seeds = np.random.SeedSequence([seed, iteration]).generate_state(4).tolist()
    policies: list[SupportsPredict] = [StickyRandom(policy.action_space, seed=seeds[0])]
    weights = [1.0]
    if isinstance(policy.action_space, spaces.Box):
        policies.append(RandomWeights(policy.action_space, "cauchy", (0.0, 0.3), seed=seeds[1]))
        weights.append(1.0)
    if iteration:
        policies.append(Decisions(policy, seeds[3]))
        weights.append(sum(weights))
    return Mixture(policies, weights, seed=seeds[2])
