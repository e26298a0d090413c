"""SB3's SAC with critics that the policy chooses: the base of SAC variants whose actors have exact densities."""

import inspect
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac.sac import SAC
from torch.nn import functional as F

from ardae_rl.common.algorithms import NamedAlgorithm, n_step_buffer_accepted
from ardae_rl.common.policies import SquashedPolicy
from ardae_rl.common.queries import check_spaces
from ardae_rl.common.temperature import check_continuous, check_temperature, check_updates
from ardae_rl.common.training import MetricMeans, frozen


class SoftActorCritic(NamedAlgorithm, SAC):
    """SB3's SAC for policies that are a :class:`~ardae_rl.common.policies.SquashedPolicy`.

    With SB3's critics, it takes SB3's gradient steps: the same numbers from the same random draws. For other kinds, see
    :mod:`ardae_rl.common.critics`. It refuses discrete actions, and raises an error if a loss is not finite.

    :param policy: Name of a policy, or its class.
    :param env: Environment, or its id.
    :param policy_kwargs: Arguments of the policy.
    """

    __signature__: ClassVar = inspect.signature(SAC)  # __init__ only passes arguments on
    policy: SquashedPolicy

    def __init__(
        self,
        policy: str | type[SquashedPolicy],
        env: GymEnv | str | None,
        *args: Any,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if env is not None:
            env = maybe_make_env(env, kwargs.get("verbose", 0))
            check_continuous(env.action_space)  # SB3 only asserts it
        # SB3 adds an entry, which must not reach the caller's dictionary, or the saved one unless it is needed
        super().__init__(policy, env, *args, policy_kwargs=dict(policy_kwargs or {}), **kwargs)  # type: ignore[arg-type, misc]
        if not self.use_sde:
            self.policy_kwargs.pop("use_sde", None)

    def _setup_model(self) -> None:
        check_temperature(self.ent_coef, self.target_entropy)
        check_updates(self)
        check_spaces(self)
        with n_step_buffer_accepted(self):
            super()._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        means, critics = MetricMeans(), self.policy.critics
        for gradient_step in range(gradient_steps):
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)  # type: ignore[union-attr]
            updates_actor = critics.updates_actor(self._n_updates + gradient_step + 1)
            means.add(self._update_networks(data, updates_actor))
            if critics.has_targets and gradient_step % self.target_update_interval == 0:
                polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
                polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)

        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in means.finite(after=f"{self._n_updates} gradient steps").items():
            self.logger.record(f"train/{name}", value)

    def _update_networks(self, data: ReplayBufferSamples, updates_actor: bool) -> dict[str, th.Tensor]:
        """Take a gradient step on the critics, and maybe on actor and temperature, and return its metrics."""
        if self.use_sde:
            self.actor.reset_noise()
        # The order of the random draws is that of SB3's SAC
        if updates_actor:
            actions, log_prob = self.actor.action_log_prob(data.observations)
            log_prob = log_prob.reshape(-1, 1)
        ent_coef = self.ent_coef_tensor if self.log_ent_coef is None else self.log_ent_coef.detach().exp()
        metrics = {"critic_loss": self._update_critics(data, ent_coef), "ent_coef": ent_coef}
        if updates_actor:
            metrics |= self._update_temperature(log_prob.detach())
            with frozen(self.critic.optimizer.param_groups[0]["params"]):
                values = self.policy.critics.actor_values(self.critic, data.observations, actions)
                actor_loss = (ent_coef * log_prob - values).mean()
            self.actor.optimizer.zero_grad()
            actor_loss.backward()
            self.actor.optimizer.step()
            metrics["actor_loss"] = actor_loss.detach()
        return metrics

    def _update_critics(self, data: ReplayBufferSamples, ent_coef: th.Tensor) -> th.Tensor:
        with th.no_grad():
            next_actions, next_log_prob = self.actor.action_log_prob(data.next_observations)
        discounts = data.discounts if data.discounts is not None else self.gamma
        q_values, next_q_values = self.policy.critics.paired_values(self.critic, self.critic_target, data, next_actions)
        next_values = next_q_values - ent_coef * next_log_prob.reshape(-1, 1)
        targets = data.rewards + (1 - data.dones) * discounts * next_values
        loss = th.stack([0.5 * F.mse_loss(q, targets) for q in q_values]).sum()
        self.critic.optimizer.zero_grad()
        loss.backward()
        self.critic.optimizer.step()
        return loss.detach()

    def _update_temperature(self, log_prob: th.Tensor) -> dict[str, th.Tensor]:
        if self.log_ent_coef is None or self.ent_coef_optimizer is None:
            return {}
        assert isinstance(self.target_entropy, float)
        loss = -(self.log_ent_coef * (log_prob + self.target_entropy)).mean()
        self.ent_coef_optimizer.zero_grad()
        loss.backward()
        self.ent_coef_optimizer.step()
        return {"ent_coef_loss": loss.detach()}
