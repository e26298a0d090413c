"""The start of a training segment: what a checkpoint does not hold is reset, so that resuming changes nothing."""

import numpy as np
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.grid.checkpoint import replay_buffer


def start_segment(model: OffPolicyAlgorithm, seed: int) -> int:
    """Reset the environments, and seed everything from the seed of the training and the number of steps so far.

    :param model: A new model, or one that has just been saved or loaded.
    :param seed: Seed of the training.
    :return: Seed of the segment.
    """
    env = model.get_env()
    assert env is not None
    model.set_logger(Logger(folder=None, output_formats=[]))  # empty, as after a restart
    truncate_episodes(model)
    model.set_env(env, force_reset=True)
    segment_seed = int(np.random.SeedSequence([seed, model.num_timesteps]).generate_state(1)[0] >> 1)
    model.set_random_seed(segment_seed)
    return segment_seed


def truncate_episodes(model: OffPolicyAlgorithm) -> None:
    """Mark the newest transitions in the replay buffer as truncated, unless they end an episode.

    Otherwise n-step returns would run into the episodes that begin after a reset of the environments.
    """
    buffer = replay_buffer(model)
    if buffer.size() > 0:
        newest = buffer.pos - 1  # -1, the last row, if the buffer has just become full
        buffer.timeouts[newest] = np.maximum(buffer.timeouts[newest], 1 - buffer.dones[newest])
