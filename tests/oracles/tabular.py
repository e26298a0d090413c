"""Maximum causal entropy inverse reinforcement learning in small tables, exactly: what the rest is checked against."""

from typing import NamedTuple

import torch as th

from ardae_rl.common.checks import check_positive


class MDP(NamedTuple):
    """A table of a Markov decision process, in double precision."""

    transitions: th.Tensor  # P(s'|s, a), (n_states, n_actions, n_states)
    start: th.Tensor  # P(s_0), (n_states)
    gamma: float


class Solution(NamedTuple):
    """Of soft value iteration."""

    policy: th.Tensor  # π(a|s), (n_states, n_actions)
    values: th.Tensor  # V(s)
    advantages: th.Tensor  # ln π(a|s)


def soft_value_iteration(mdp: MDP, rewards: th.Tensor, tolerance: float = 1e-12) -> Solution:
    """The policy that maximises E Σ γ^t (r + H(π)).

    :param rewards: r(s, a), (n_states, n_actions)
    :param tolerance: largest change of a value in the last sweep
    """
    values = rewards.new_zeros(len(rewards))
    while True:
        q = rewards + mdp.gamma * mdp.transitions @ values
        following = q.logsumexp(-1)
        change = (following - values).abs().max()
        values = following
        if change < tolerance:
            break
    q = rewards + mdp.gamma * mdp.transitions @ values
    log_policy = q.log_softmax(-1)
    return Solution(log_policy.exp(), q.logsumexp(-1), log_policy)


def occupancy(mdp: MDP, policy: th.Tensor) -> th.Tensor:
    """(1 - γ) Σ γ^t P(s_t, a_t), (n_states, n_actions), which sums to 1.

    :param policy: π(a|s), (n_states, n_actions)
    """
    between = th.einsum("sa,sat->st", policy, mdp.transitions)
    identity = th.eye(len(mdp.start), dtype=policy.dtype)
    states = th.linalg.solve((identity - mdp.gamma * between).mT, (1 - mdp.gamma) * mdp.start)
    return states.unsqueeze(-1) * policy


def expected_return(mdp: MDP, rewards: th.Tensor, policy: th.Tensor) -> float:
    """E Σ γ^t r(s_t, a_t), without entropy."""
    return float((occupancy(mdp, policy) * rewards).sum() / (1 - mdp.gamma))


class MCEIRL:
    """The reward for which the soft-optimal policy visits what the expert visits (Ziebart 2010).

    Its negative log likelihood is convex in rewards that are linear in features; the gradient is the difference of the
    feature expectations. Descended by L-BFGS.

    :param mdp: the table
    :param inputs: "state" for r(s), "state_action" for r(s, a)
    :param l2: weight of Σ r², which chooses among equal rewards; 0 for none
    :raises ValueError: for other inputs
    """

    def __init__(self, mdp: MDP, inputs: str = "state", l2: float = 0.0) -> None:
        if inputs not in ("state", "state_action"):
            raise ValueError(f"inputs={inputs!r}: accepted are 'state' and 'state_action'")
        self.mdp, self.inputs, self.l2 = mdp, inputs, l2
        n_states, n_actions = mdp.transitions.shape[:2]
        shape = (n_states,) if inputs == "state" else (n_states, n_actions)
        self.parameters = th.zeros(shape, dtype=th.float64)

    @property
    def rewards(self) -> th.Tensor:
        """r(s, a), (n_states, n_actions)."""
        return self._table(self.parameters)

    def fit(self, expert: th.Tensor, n_steps: int = 200) -> th.Tensor:
        """Match the expert's visits; the rewards.

        :param expert: its occupancy, (n_states, n_actions), which sums to 1
        :param n_steps: of L-BFGS, at most
        """
        check_positive("n_steps", n_steps)
        parameters = self.parameters.clone().requires_grad_(True)
        optimizer = th.optim.LBFGS(
            [parameters], max_iter=n_steps, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
        )

        def closure() -> th.Tensor:
            rewards = self._table(parameters.detach())
            solution = soft_value_iteration(self.mdp, rewards)
            # Of the likelihood, up to what does not depend on the reward: V(s_0) - E_expert[r] / (1 - γ)
            loss = (self.mdp.start * solution.values).sum() - (expert * rewards).sum() / (1 - self.mdp.gamma)
            difference = (occupancy(self.mdp, solution.policy) - expert) / (1 - self.mdp.gamma)
            slope = difference.sum(-1) if self.inputs == "state" else difference
            parameters.grad = slope + 2 * self.l2 * parameters.detach()
            return loss + self.l2 * parameters.detach().square().sum()

        optimizer.step(closure)
        self.parameters = parameters.detach()
        return self.rewards

    def _table(self, parameters: th.Tensor) -> th.Tensor:
        if self.inputs == "state_action":
            return parameters
        return parameters.unsqueeze(-1).expand(self.mdp.transitions.shape[:2])


class TabularAIRL:
    """AIRL with tables for g and h, and expectations for samples: f = g + γ h(s') - h(s), logit D = f - ln π.

    The generator is soft-optimal for f after each turn of the discriminator. At the optimum f is the expert's advantage
    ln π_E (Fu et al. 2018, Section 4), so that a g of the state alone is the reward up to a constant in deterministic
    dynamics, if states are linked as their Definition 5.1 has it.

    :param mdp: the table
    :param inputs: of g: "state" or "state_action"
    :raises ValueError: for other inputs
    """

    def __init__(self, mdp: MDP, inputs: str = "state") -> None:
        if inputs not in ("state", "state_action"):
            raise ValueError(f"inputs={inputs!r}: accepted are 'state' and 'state_action'")
        n_states, n_actions = mdp.transitions.shape[:2]
        shape = (n_states,) if inputs == "state" else (n_states, n_actions)
        self.mdp, self.inputs = mdp, inputs
        self.g = th.zeros(shape, dtype=th.float64, requires_grad=True)
        self.h = th.zeros(n_states, dtype=th.float64, requires_grad=True)

    @property
    def rewards(self) -> th.Tensor:
        """g(s, a), (n_states, n_actions)."""
        g = self.g.detach()
        return g.unsqueeze(-1).expand(self.mdp.transitions.shape[:2]) if self.inputs == "state" else g

    def shaped(self) -> th.Tensor:
        """f(s, a, s'), (n_states, n_actions, n_states)."""
        g = self.g.unsqueeze(-1) if self.inputs == "state" else self.g
        return g.unsqueeze(-1) + self.mdp.gamma * self.h - self.h[:, None, None]

    def fit(self, expert: th.Tensor, n_rounds: int = 100, n_steps: int = 20, learning_rate: float = 0.1) -> th.Tensor:
        """Rounds of discriminator and generator; g as a table of rewards.

        :param expert: its occupancy, (n_states, n_actions)
        :param n_rounds: turns of each
        :param n_steps: of the discriminator in a turn
        """
        optimizer = th.optim.Adam([self.g, self.h], lr=learning_rate)
        decay = th.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / n_rounds))
        for _ in range(n_rounds):
            with th.no_grad():
                solution = soft_value_iteration(self.mdp, (self.mdp.transitions * self.shaped()).sum(-1))
                visits = occupancy(self.mdp, solution.policy)
            for _ in range(n_steps):
                logits = self.shaped() - solution.advantages.unsqueeze(-1)
                losses = [
                    (weights.unsqueeze(-1) * self.mdp.transitions * th.nn.functional.softplus(sign * logits)).sum()
                    for weights, sign in ((expert, -1), (visits, 1))
                ]
                optimizer.zero_grad()
                (losses[0] + losses[1]).backward()
                optimizer.step()
            decay.step()
        return self.rewards
