"""SACARDAE without its critic's updates: policy and score estimator are trained on states from a given source."""

from collections.abc import Iterator

import torch as th

from ardae_rl import SACARDAE
from ardae_rl.common.compiled import set_learning_rate
from ardae_rl.common.training import MetricMeans
from ardae_rl.sac_ardae.sac_ardae import CORRECTION_INTERVAL


class ActorOnly(SACARDAE):
    """SACARDAE whose policy is trained alone. Subclasses say in which states."""

    def sample_states(self, n: int) -> th.Tensor:
        """Return random observations, (n, ...)."""
        raise NotImplementedError

    def updates(self, n_updates: int, check_every: int) -> Iterator[dict[str, float]]:
        """Train, and yield the means of the metrics every ``check_every`` updates of the policy."""
        means = MetricMeans()
        for update in range(n_updates):
            states = self.policy.encode_states(self.sample_states(self.batch_size))
            warmup = self.score_warmup if update == 0 else 0
            means.add(self.update_score(states, warmup + self.n_score_updates))
            if update % CORRECTION_INTERVAL == 0:
                self.update_correction(self.sample_states(1))
            self.actor.slow_down(self.actor.optimizer, update)
            set_learning_rate(self.actor.optimizer, self.lr_schedule(1), graphed=False)
            metrics, _ = self.update_actor(states, th.tensor(float(update)))
            means.add(metrics)
            if (update + 1) % check_every == 0:
                yield means.finite(after=f"{update + 1} updates")
                means = MetricMeans()
