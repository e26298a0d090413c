"""Early termination or truncation of episodes that no longer collect reward."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from ardae_envs.checks import check_min


class Patience(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """End an episode after n consecutive steps without a positive reward; for training, not for evaluation.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.patience import Patience
    >>> env = Patience(gym.make("MountainCar-v0"), 3)  # all rewards are -1
    >>> _ = env.reset(seed=0)
    >>> [env.step(1)[3] for _ in range(3)]
    [False, False, True]

    :param env: Any environment.
    :param n: Number of consecutive steps without a positive reward.
    :param terminate: Whether to terminate the episode, so that a value function learns that no reward follows; if
        False, it is truncated.
    :raises ValueError: If ``n`` is below 1.
    """

    def __init__(self, env: gym.Env[Any, Any], n: int, terminate: bool = False) -> None:
        check_min("n", n, 1)
        RecordConstructorArgs.__init__(self, n=n, terminate=terminate)
        super().__init__(env)
        self.n, self.terminate, self._unrewarded = n, terminate, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._unrewarded = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._unrewarded = 0 if float(reward) > 0 else self._unrewarded + 1
        impatient = self._unrewarded >= self.n
        return (
            observation,
            reward,
            terminated or (impatient and self.terminate),
            truncated or (impatient and not self.terminate),
            info,
        )
