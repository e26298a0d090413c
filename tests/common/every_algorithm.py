"""A small model of every algorithm, and an environment that it learns in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
from stable_baselines3 import TD3

from ardae_rl import AIRL, BC, DVBF, E2C, GAIL, GANGCL, SACARDAE, SACNF, SQIL, SACGaussian, WorldModels
from tests.dvbf.test_dvbf import SMALL as SMALL_DVBF
from tests.e2c.test_e2c import SMALL as SMALL_E2C
from tests.irl.counting import Counting
from tests.irl.test_adversarial import GENERATORS, demonstrations
from tests.irl.test_adversarial import SMALL as SMALL_IRL
from tests.latent.toy import Walk
from tests.sac_ardae import small
from tests.world_models.brightness import Brightness
from tests.world_models.test_world_models import SMALL as SMALL_WORLD_MODELS

NET_ARCH: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}}
OFF_POLICY: dict[str, Any] = {"batch_size": 8, "buffer_size": 200, "learning_starts": 10}


class Algorithm(NamedTuple):
    """How to make a small model.

    :param cls: The algorithm.
    :param arguments: Its arguments, without the environment.
    :param make_env: Returns an environment.
    :param policy: Name of the policy.
    """

    cls: type[Any]
    arguments: dict[str, Any]
    make_env: Callable[[], gym.Env[Any, Any]] = Counting
    policy: str = "MlpPolicy"

    def make(self, env: Any = None, **arguments: Any) -> Any:
        """Return a model for an environment, by default a new one."""
        env = self.make_env() if env is None else env
        return self.cls(self.policy, env, **({"seed": 0, "device": "cpu"} | self.arguments | arguments))


def adversarial(cls: type[Any], generator: Any) -> Algorithm:
    """Return a trainer with small networks, which has a round of its discriminator every twenty steps."""
    kwargs = GENERATORS.get(generator, OFF_POLICY)
    given = {"demonstrations": demonstrations(), "generator": generator, "generator_kwargs": kwargs}
    return Algorithm(cls, SMALL_IRL | NET_ARCH | given)


EVERY_ALGORITHM: dict[str, Algorithm] = {
    "SACARDAE": Algorithm(SACARDAE, small.ARGUMENTS | {"policy_kwargs": small.POLICY_KWARGS}),
    "SACNF": Algorithm(SACNF, OFF_POLICY | NET_ARCH),
    "SACGaussian": Algorithm(SACGaussian, OFF_POLICY | NET_ARCH),
    "AIRL": adversarial(AIRL, "sac"),
    "AIRL, on-policy": adversarial(AIRL, "ppo"),
    "GAIL": adversarial(GAIL, TD3),
    "GANGCL": adversarial(GANGCL, "sac_nf"),
    "BC": Algorithm(BC, NET_ARCH | {"demonstrations": demonstrations(), "batch_size": 8}),
    "SQIL": Algorithm(SQIL, OFF_POLICY | NET_ARCH | {"demonstrations": demonstrations()}),
    "DVBF": Algorithm(
        DVBF,
        {"n_collected": 15, "gradient_steps": 2, "batch_size": 4, "sequence_length": 3, "buffer_size": 200}
        | {"policy_kwargs": SMALL_DVBF},
    ),
    "E2C": Algorithm(
        E2C,
        {
            "n_collected": 15,
            "gradient_steps": 2,
            "batch_size": 4,
            "buffer_size": 200,
            "policy_kwargs": SMALL_E2C | {"planner_kwargs": {"n_iterations": 1}},
        },
        Walk,
        "MultiInputPolicy",
    ),
    "WorldModels": Algorithm(
        WorldModels,
        {**SMALL_WORLD_MODELS, "collection_env": Brightness, "search_env": Brightness}
        | {"memory_kwargs": {"n_steps": 2, "sequence_length": 3}, "vision_kwargs": {"n_steps": 2}},
        Brightness,
        "CnnPolicy",
    ),
}
EVERY_ALGORITHM["WorldModels"].arguments.pop("env")
