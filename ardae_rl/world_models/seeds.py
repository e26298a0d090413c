"""Ranges of episode seeds. Those of training are disjoint from those of every evaluation, for any seed of the model.

Besides the ranges below, ``ardae-rl world-model evaluate`` uses seeds from 10,000 on.
"""

import numpy as np

TRAINING_SEEDS = range(2**20, 2**31)
"""Seeds of all episodes of training: collection, search and PPO. Smaller seeds are reserved for evaluations."""
HELD_OUT_SEEDS = range(10_000)
"""Seeds on which a CMA-ES search evaluates the means of its distribution."""
SELECTION_SEEDS = range(20_000, 30_000)
"""Seeds on which the best weights of PPO are selected."""
TEST_SEEDS = range(30_000, 50_000)
"""Seeds on which the selected weights are compared."""

# Purpose of the episodes, the second argument of `first_training_seed`
COLLECTION, PPO_TRAINING = 1, 2
_MAX_EPISODES = 2**20


def first_training_seed(*entropy: int) -> int:
    """Return the first of 2^20 consecutive training seeds, whose position depends on all of these integers.

    Models with nearby seeds thus have no episodes in common, except with a probability of about one in a million for
    two collections of a thousand episodes each.
    """
    n_places = len(TRAINING_SEEDS) - _MAX_EPISODES
    return TRAINING_SEEDS.start + int(np.random.SeedSequence(entropy).generate_state(1)[0]) % n_places
