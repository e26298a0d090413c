"""SAC with a normalizing-flow policy, whose log-density is exact."""

from typing import ClassVar

from stable_baselines3.common.policies import BasePolicy

from ardae_rl.common.soft_actor_critic import SoftActorCritic
from ardae_rl.sac_nf.actor import FlowActor
from ardae_rl.sac_nf.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACNFPolicy


class SACNF(SoftActorCritic):
    """Soft actor-critic whose policy is a normalizing flow (SAC-NF).

    Reference: Mazoure, Doan, Durand, Hjelm and Pineau (2019), Leveraging exploration in off-policy algorithms via
    normalizing flows, https://arxiv.org/abs/1905.06893. Their radial and planar flows do not depend on the state; the
    "autoregressive" and "coupling" ones do. Unlike in their code, all flows stay invertible, so that densities are
    exact, and a single optimizer updates Gaussian and flow (theirs takes two steps for the Gaussian).

    The arguments are those of SB3's SAC without generalized state-dependent exploration. ``policy_kwargs`` takes
    ``flow``, ``n_flows`` and ``state_dependent_std`` (see :class:`~ardae_rl.sac_nf.actor.FlowActor`), and
    ``critic``: "mlp", "simba" or "crossq" (see :mod:`ardae_rl.common.critics`).

    Example:

    >>> from ardae_rl import SACNF
    >>> model = SACNF("MlpPolicy", "Pendulum-v1", learning_starts=50, policy_kwargs={"flow": "planar"}).learn(100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: SACNFPolicy
    actor: FlowActor  # type: ignore[assignment]
