"""SAC with a normalizing-flow policy: SB3's SAC with another actor, whose log density is as exact as the Gaussian's."""

import inspect
import math
from typing import Any, ClassVar

from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.sac.sac import SAC

from ardae_rl.common.algorithms import NamedAlgorithm
from ardae_rl.common.temperature import check_continuous, check_temperature
from ardae_rl.sac_nf.actor import FlowActor
from ardae_rl.sac_nf.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACNFPolicy


class SACNF(NamedAlgorithm, SAC):
    """Soft actor-critic whose policy is a normalizing flow (SAC-NF).

    Reference: Mazoure, Doan, Durand, Hjelm and Pineau (2019), Leveraging exploration in off-policy algorithms via
    normalizing flows, https://arxiv.org/abs/1905.06893. Their radial and planar flows do not depend on the state; the
    "autoregressive" and "coupling" ones do. Unlike in their code, all flows stay invertible, so that densities are
    exact, and a single optimizer updates Gaussian and flow (theirs makes two steps for the Gaussian).

    The arguments are those of SB3's SAC without generalized state-dependent exploration. ``policy_kwargs`` takes
    ``flow``, ``n_flows`` and ``state_dependent_std`` (see :class:`~ardae_rl.sac_nf.actor.FlowActor`).

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
    __signature__: ClassVar = inspect.signature(SAC)  # __init__ only passes arguments on
    policy: SACNFPolicy
    actor: FlowActor  # type: ignore[assignment]

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str | None,
        *args: Any,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if env is not None:
            env = maybe_make_env(env, kwargs.get("verbose", 0))
            check_continuous(env.action_space)  # SB3 only asserts it
        # SB3 adds an entry to the dictionary, which must not reach the caller's or the saved one
        super().__init__(policy, env, *args, policy_kwargs=dict(policy_kwargs or {}), **kwargs)  # type: ignore[arg-type, misc]
        self.policy_kwargs.pop("use_sde", None)

    def _setup_model(self) -> None:
        check_temperature(self.ent_coef, self.target_entropy)
        super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        if gradient_steps == 0:
            return  # SB3's SAC would log means of empty lists
        super().train(gradient_steps, batch_size)
        for name in ("critic_loss", "actor_loss", "ent_coef"):
            value: Any = self.logger.name_to_value[f"train/{name}"]
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value} after {self._n_updates} gradient steps: training has diverged")
