"""Demonstrations as algorithms train on them."""

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from ardae_rl.irl.demonstrations import check_demonstrations_fit
from ardae_rl.irl.files import Demonstrations, as_trajectories
from ardae_rl.irl.trajectories import Trajectory, match_absorbing_states


def prepared_demonstrations(demonstrations: Demonstrations | None, model: BaseAlgorithm) -> list[Trajectory] | None:
    """Return demonstrations as a list: loaded, checked, and with absorbing states if the model's environment has them.

    :param demonstrations: Episodes, or where to load them from; None for a model that only acts.
    :param model: Algorithm whose environment and spaces they must fit.
    :raises ValueError: For demonstrations that cannot be loaded, or are of another environment.
    """
    trajectories = as_trajectories(demonstrations)
    if trajectories is None:
        return None
    trajectories = match_absorbing_states(trajectories, model.env)
    check_demonstrations_fit(trajectories, model.observation_space, model.action_space)
    return trajectories


def check_not_normalized(env: VecEnv | None) -> None:
    """Check that an environment has the observations and rewards that demonstrations have.

    :raises ValueError: If it contains a VecNormalize.
    """
    if env is not None and unwrap_vec_normalize(env) is not None:
        raise ValueError("`env` must not contain a VecNormalize")


def check_given(demonstrations: Demonstrations | None) -> None:
    """Check that there are demonstrations to learn from. Saved models have none.

    :raises ValueError: If there are none.
    """
    if demonstrations is None:
        raise ValueError("`demonstrations` must be trajectories, or where to load them from, to learn, got None")
