"""Repeated actions; where the environment can skip rendering, only the frame that is returned is rendered."""

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, RecordEpisodeStatistics, TimeLimit

from ardae_envs.checks import check_min
from ardae_envs.patience import Patience

# Wrappers that return observations as they are, and see none but those that are returned
_LEAVE_OBSERVATIONS = (
    TimeLimit,
    OrderEnforcing,
    PassiveEnvChecker,
    RecordEpisodeStatistics,
    Patience,
    gym.ActionWrapper,
    gym.RewardWrapper,
)
_LEAVE_OBSERVATIONS_BY_NAME = ("Monitor", "PatchedTimeLimit")  # of SB3, and of RL Zoo in place of Gymnasium's TimeLimit


@runtime_checkable
class SkipsDrawing(Protocol):
    """An environment that can step without rendering, such as :class:`~ardae_envs.car_racing_fast.CarRacingFast`.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.action_repeat import SkipsDrawing
    >>> isinstance(gym.make("ardae_envs:ardae/CarRacingFast-v0").unwrapped, SkipsDrawing)
    True
    >>> isinstance(gym.make("Pendulum-v1").unwrapped, SkipsDrawing)
    False
    """

    drawing: bool  # while False, `step` returns the frame that was rendered last

    def draw(self) -> Any:
        """Return the observation of the current state."""


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Repeat each action for n steps of the environment, or until the episode ends, and sum the rewards.

    The time limit belongs inside, where ``gymnasium.make`` puts it: ``ActionRepeat(gym.make(...), 4)``. CarRacing
    spends nearly all of its time on rendering; an environment that :class:`SkipsDrawing` renders only the frames that
    are returned. With wrappers inside that change or collect observations, each frame is rendered: put such wrappers
    around ``ActionRepeat`` instead.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.action_repeat import ActionRepeat
    >>> env = ActionRepeat(gym.make("CartPole-v1"), 4)
    >>> _ = env.reset(seed=0)
    >>> env.step(0)[1]  # the sum of four rewards
    4.0

    :param env: Any environment.
    :param n: Number of steps for which each action is repeated.
    :raises ValueError: If ``n`` is below 1.
    """

    def __init__(self, env: gym.Env[Any, Any], n: int) -> None:
        check_min("n", n, 1)
        RecordConstructorArgs.__init__(self, n=n)
        super().__init__(env)
        self.n = n
        base = env.unwrapped
        self._skips_drawing = base if isinstance(base, SkipsDrawing) and _leaves_observations(env) else None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total, drawn = 0.0, True
        try:
            for i in range(self.n):
                if self._skips_drawing is not None:
                    self._skips_drawing.drawing = drawn = i == self.n - 1
                observation, reward, terminated, truncated, info = self.env.step(action)
                total += float(reward)
                if terminated or truncated:
                    break
        finally:
            if self._skips_drawing is not None:
                self._skips_drawing.drawing = True
        if self._skips_drawing is not None and not drawn:
            observation = self._skips_drawing.draw()
        return observation, total, terminated, truncated, info


def _leaves_observations(env: gym.Env[Any, Any]) -> bool:
    """Tell whether all wrappers leave observations as they are, so that frames can be missing in between."""
    while isinstance(env, gym.Wrapper):
        if not isinstance(env, _LEAVE_OBSERVATIONS) and type(env).__name__ not in _LEAVE_OBSERVATIONS_BY_NAME:
            return False
        env = env.env
    return True
