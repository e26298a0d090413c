"""Which episodes have which seeds: training's are disjoint from every evaluation's, whatever the seed of the model.

Besides the ranges below, agents are evaluated on seeds from 10,000 on, as by ``ardae-rl world-model evaluate``.
"""

import numpy as np

TRAINING_SEEDS = range(2**20, 2**31)
"""Seeds of all episodes of training: collection, search and PPO. Smaller seeds are reserved for evaluations."""
HELD_OUT_SEEDS = range(10_000)
"""Seeds on which an evolution evaluates its means."""
SELECTION_SEEDS = range(20_000, 30_000)
"""Seeds on which the best weights of a training by PPO are selected."""
TEST_SEEDS = range(30_000, 50_000)
"""Seeds on which the selected ones are compared."""

# Who plays the episodes: the second argument of `first_training_seed`
COLLECTION, PPO_TRAINING = 1, 2
_MAX_EPISODES = 2**20


def first_training_seed(*entropy: int) -> int:
    """Return the first of 2^20 consecutive training seeds, at a place that depends on all of these integers.

    Nearby seeds of models thus have no episodes in common, but for a chance of about one in a million for two
    collections of a thousand episodes each.
    """
    n_places = len(TRAINING_SEEDS) - _MAX_EPISODES
    return TRAINING_SEEDS.start + int(np.random.SeedSequence(entropy).generate_state(1)[0]) % n_places
