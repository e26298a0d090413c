"""Repeated actions. If the environment can skip rendering, only the returned frames are rendered."""

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, RecordEpisodeStatistics, TimeLimit

from ardae_envs.checks import check_min
from ardae_envs.patience import Patience

# Wrappers that neither change observations nor record the ones in between
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
    spends nearly all of its time on rendering. An environment that satisfies :class:`SkipsDrawing` therefore renders
    only the frames that are returned. If wrappers inside change or collect observations, all frames are rendered: put
    such wrappers around ``ActionRepeat`` instead.

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
    """Return whether all wrappers leave observations unchanged, so that the frames in between need not be rendered."""
    while isinstance(env, gym.Wrapper):
        if not isinstance(env, _LEAVE_OBSERVATIONS) and type(env).__name__ not in _LEAVE_OBSERVATIONS_BY_NAME:
            return False
        env = env.env
    return True
