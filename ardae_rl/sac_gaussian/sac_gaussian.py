"""SAC with a Gaussian policy and a choice of critics."""

from typing import ClassVar

from stable_baselines3.common.policies import BasePolicy

from ardae_rl.common.soft_actor_critic import SoftActorCritic
from ardae_rl.sac_gaussian.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACGaussianPolicy


class SACGaussian(SoftActorCritic):
    """SB3's SAC with a choice of critics, for comparisons of actors that hold the critics fixed.

    Reference: Haarnoja et al. (2018), https://arxiv.org/abs/1801.01290. The arguments are those of SB3's SAC, and
    without ``critic``, so are the results: networks, random draws and gradient steps are the same.
    ``policy_kwargs=dict(critic="crossq")`` and ``dict(critic="simba")`` select other critics
    (:mod:`ardae_rl.common.critics`); SACNF and SACARDAE take the same arguments. Unlike sb3-contrib's CrossQ, the
    Gaussian actor has no batch renormalization.

    In RL Zoo, this is ``--algo sac_gaussian``; ``--algo sac`` is SB3's own class.

    Example:

    >>> from ardae_rl import SACGaussian
    >>> policy_kwargs = {"critic": "crossq", "net_arch": {"pi": [64, 64], "qf": [128, 128]}}
    >>> model = SACGaussian("MlpPolicy", "Pendulum-v1", learning_starts=50, policy_kwargs=policy_kwargs).learn(100)
    >>> action, _ = model.predict(model.get_env().reset(), deterministic=True)
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: SACGaussianPolicy
