"""Preparation and checks of the demonstrations that algorithms train on."""

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from ardae_rl.irl.demonstrations import check_demonstrations_fit
from ardae_rl.irl.files import Demonstrations, as_trajectories
from ardae_rl.irl.trajectories import Trajectory, has_absorbing_states, match_absorbing_states


class LearnsFromDemonstrations(BaseAlgorithm):
    """Base of the algorithms that train on demonstrations."""

    has_absorbing_states = False  # saved with the model, so that demonstrations can be matched without an environment

    def _prepared(self, demonstrations: Demonstrations | None) -> list[Trajectory] | None:
        """Return demonstrations as a list: loaded, checked, and with absorbing states if the environment has them.

        :param demonstrations: Episodes, or the path or ``minari:ID`` to load them from; None for a model that only
            acts.
        :raises ValueError: For demonstrations that cannot be loaded, or that do not fit the environment.
        """
        if self.env is not None:
            self.has_absorbing_states = has_absorbing_states(self.env)
        trajectories = as_trajectories(demonstrations)
        if trajectories is None:
            return None
        if self.has_absorbing_states:
            trajectories = match_absorbing_states(trajectories, self.observation_space, self.action_space)
        check_demonstrations_fit(trajectories, self.observation_space, self.action_space)
        return trajectories


def check_not_normalized(env: VecEnv | None) -> None:
    """Check that an environment does not normalize observations or rewards, because demonstrations are not normalized.

    :raises ValueError: If it contains a VecNormalize.
    """
    if env is not None and unwrap_vec_normalize(env) is not None:
        raise ValueError("`env` must not contain a VecNormalize, got one")


def check_given(demonstrations: Demonstrations | None) -> None:
    """Check that there are demonstrations to learn from. They are not saved with models.

    :raises ValueError: If there are none.
    """
    if demonstrations is None:
        raise ValueError("`demonstrations` must be trajectories, or a path or minari:ID to load them from, got None")
