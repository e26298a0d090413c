"""An action held for several steps, of which only the last is drawn where the environment can leave that out."""

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs


@runtime_checkable
class Undrawn(Protocol):
    """An environment that can step without drawing, such as :class:`~ardae_envs.car_racing_fast.CarRacingFast`."""

    drawing: bool  # where False, steps return an earlier observation

    def draw(self) -> Any:
        """The observation of where the episode is."""


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """A step is n of the environment's with the same action, fewer where the episode ends; rewards add up.

    The limit of an episode's length is to be inside, as ``gymnasium.make`` puts it: ``ActionRepeat(gym.make(...), 4)``.
    Nearly all of CarRacing's time goes into drawing; of an :class:`Undrawn` one, no more is drawn than is returned.

    :param env: any environment
    :param n: steps for which an action is held
    :raises ValueError: for n below 1
    """

    def __init__(self, env: gym.Env[Any, Any], n: int) -> None:
        if n < 1:
            raise ValueError(f"n={n!r}: accepted are 1 and more")
        RecordConstructorArgs.__init__(self, n=n)
        super().__init__(env)
        self.n = n
        self._undrawn = env.unwrapped if isinstance(env.unwrapped, Undrawn) else None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total, drawn = 0.0, True
        try:
            for i in range(self.n):
                if self._undrawn is not None:
                    self._undrawn.drawing = drawn = i == self.n - 1
                observation, reward, terminated, truncated, info = self.env.step(action)
                total += float(reward)
                if terminated or truncated:
                    break
        finally:
            if self._undrawn is not None:
                self._undrawn.drawing = True
        if self._undrawn is not None and not drawn:
            observation = self._undrawn.draw()
        return observation, total, terminated, truncated, info
