"""SAC with a normalizing-flow policy: SB3's SAC with another actor, whose log density is as exact as the Gaussian's."""

import inspect
import math
from typing import Any, ClassVar, TypeVar

from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.sac.sac import SAC

from ardae_rl.common.temperature import check_continuous, check_temperature
from ardae_rl.sac_nf.policies import CnnPolicy, FlowActor, MlpPolicy, MultiInputPolicy, SACNFPolicy

SelfSACNF = TypeVar("SelfSACNF", bound="SACNF")


class SACNF(SAC):
    """Soft actor-critic whose policy is a normalizing flow (SAC-NF).

    Reference: Mazoure, Doan, Durand, Hjelm and Pineau (2019), Leveraging exploration in off-policy algorithms via
    normalizing flows, https://arxiv.org/abs/1905.06893. Their radial and planar flows do not depend on the state; the
    "autoregressive" and "coupling" ones do. Unlike their code, all are kept invertible, so that densities are exact,
    and one optimizer updates Gaussian and flow (theirs steps twice on the Gaussian).

    The arguments are those of SB3's SAC without generalised state-dependent exploration; ``policy_kwargs`` takes
    ``flow``, ``n_flows`` and ``state_dependent_std`` (see :class:`~ardae_rl.sac_nf.SACNFPolicy`).
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
            check_continuous(env.action_space)  # SB3 has an assertion, which says less
        # SB3 adds an entry of its own, which is neither the caller's nor to be saved
        super().__init__(policy, env, *args, policy_kwargs=dict(policy_kwargs or {}), **kwargs)  # type: ignore[arg-type, misc]
        self.policy_kwargs.pop("use_sde", None)

    def _setup_model(self) -> None:
        check_temperature(self.ent_coef, self.target_entropy)
        super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        if gradient_steps == 0:
            return  # SAC would log means of nothing
        super().train(gradient_steps, batch_size)
        for name in ("critic_loss", "actor_loss", "ent_coef"):
            value: Any = self.logger.name_to_value[f"train/{name}"]
            if not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} after {self._n_updates} gradient steps: training has diverged; accepted are "
                    "finite values"
                )

    def learn(
        self: SelfSACNF,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "SACNF",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfSACNF:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
