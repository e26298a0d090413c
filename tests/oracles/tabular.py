"""Exact maximum causal entropy inverse reinforcement learning in tabular MDPs: a reference for tests."""

from typing import NamedTuple

import torch as th

from ardae_rl.common.checks import check_choice, check_count

INPUTS = ("state", "state_action")


class MDP(NamedTuple):
    """Tabular Markov decision process, in double precision."""

    transitions: th.Tensor  # P(s'|s, a), (n_states, n_actions, n_states)
    start: th.Tensor  # P(s_0), (n_states)
    gamma: float


class Solution(NamedTuple):
    """Result of soft value iteration."""

    policy: th.Tensor  # π(a|s), (n_states, n_actions)
    values: th.Tensor  # V(s)
    advantages: th.Tensor  # ln π(a|s)


def soft_value_iteration(mdp: MDP, rewards: th.Tensor, tolerance: float = 1e-12) -> Solution:
    """Return the policy that maximizes E Σ γ^t (r + H(π)), with its values and advantages.

    :param mdp: Decision process.
    :param rewards: Rewards r(s, a), shape (n_states, n_actions).
    :param tolerance: Iterate until no value changes by more than this.
    """
    values = rewards.new_zeros(len(rewards))
    while True:
        q = rewards + mdp.gamma * mdp.transitions @ values
        new_values = q.logsumexp(-1)
        change = (new_values - values).abs().max()
        values = new_values
        if change < tolerance:
            break
    q = rewards + mdp.gamma * mdp.transitions @ values
    log_policy = q.log_softmax(-1)
    return Solution(log_policy.exp(), q.logsumexp(-1), log_policy)


def occupancy(mdp: MDP, policy: th.Tensor) -> th.Tensor:
    """Return the discounted occupancy (1 - γ) Σ γ^t P(s_t, a_t), shape (n_states, n_actions), which sums to 1.

    :param mdp: Decision process.
    :param policy: Policy π(a|s), shape (n_states, n_actions).
    """
    state_transitions = th.einsum("sa,sat->st", policy, mdp.transitions)
    identity = th.eye(len(mdp.start), dtype=policy.dtype)
    states = th.linalg.solve((identity - mdp.gamma * state_transitions).mT, (1 - mdp.gamma) * mdp.start)
    return states.unsqueeze(-1) * policy


def expected_return(mdp: MDP, rewards: th.Tensor, policy: th.Tensor) -> float:
    """Return E Σ γ^t r(s_t, a_t), without entropy."""
    return float((occupancy(mdp, policy) * rewards).sum() / (1 - mdp.gamma))


class MCEIRL:
    """Find the reward whose soft-optimal policy has the expert's occupancy (Ziebart 2010).

    The negative log-likelihood is convex for rewards that are linear in features, and its gradient is the difference of
    the feature expectations. L-BFGS minimizes it.

    :param mdp: Decision process.
    :param inputs: "state" for r(s), "state_action" for r(s, a).
    :param l2: Weight of the penalty Σ r², which selects one of several equivalent rewards; 0 for none.
    :raises ValueError: For other inputs.
    """

    def __init__(self, mdp: MDP, inputs: str = "state", l2: float = 0.0) -> None:
        check_choice("inputs", inputs, INPUTS)
        self.mdp, self.inputs, self.l2 = mdp, inputs, l2
        n_states, n_actions = mdp.transitions.shape[:2]
        shape = (n_states,) if inputs == "state" else (n_states, n_actions)
        self.parameters = th.zeros(shape, dtype=th.float64)

    @property
    def rewards(self) -> th.Tensor:
        """Rewards r(s, a), shape (n_states, n_actions)."""
        return self._table(self.parameters)

    def fit(self, expert: th.Tensor, n_steps: int = 200) -> th.Tensor:
        """Match the expert's occupancy; return the rewards.

        :param expert: Occupancy of the expert, shape (n_states, n_actions), which sums to 1.
        :param n_steps: Maximum number of L-BFGS steps.
        """
        check_count("n_steps", n_steps)
        parameters = self.parameters.clone().requires_grad_(True)
        optimizer = th.optim.LBFGS(
            [parameters], max_iter=n_steps, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
        )

        def closure() -> th.Tensor:
            rewards = self._table(parameters.detach())
            solution = soft_value_iteration(self.mdp, rewards)
            # Negative log-likelihood up to terms that do not depend on the reward: V(s_0) - E_expert[r] / (1 - γ)
            loss = (self.mdp.start * solution.values).sum() - (expert * rewards).sum() / (1 - self.mdp.gamma)
            difference = (occupancy(self.mdp, solution.policy) - expert) / (1 - self.mdp.gamma)
            gradient = difference.sum(-1) if self.inputs == "state" else difference
            parameters.grad = gradient + 2 * self.l2 * parameters.detach()
            return loss + self.l2 * parameters.detach().square().sum()

        optimizer.step(closure)
        self.parameters = parameters.detach()
        return self.rewards

    def _table(self, parameters: th.Tensor) -> th.Tensor:
        if self.inputs == "state_action":
            return parameters
        return parameters.unsqueeze(-1).expand(self.mdp.transitions.shape[:2])


class TabularAIRL:
    """AIRL with tables for g and h and exact expectations: f = g + γ h(s') - h(s), logit D = f - ln π.

    The generator is soft-optimal for f in each round. At the optimum, f is the expert's advantage ln π_E (Fu et al.
    2018, Section 4). A g that depends on the state alone then is the reward up to a constant, if the dynamics are
    deterministic and decomposable (their Definition 5.1).

    :param mdp: Decision process.
    :param inputs: Inputs of g: "state" or "state_action".
    :raises ValueError: For other inputs.
    """

    def __init__(self, mdp: MDP, inputs: str = "state") -> None:
        check_choice("inputs", inputs, INPUTS)
        n_states, n_actions = mdp.transitions.shape[:2]
        shape = (n_states,) if inputs == "state" else (n_states, n_actions)
        self.mdp, self.inputs = mdp, inputs
        self.g = th.zeros(shape, dtype=th.float64, requires_grad=True)
        self.h = th.zeros(n_states, dtype=th.float64, requires_grad=True)

    @property
    def rewards(self) -> th.Tensor:
        """Rewards g(s, a), shape (n_states, n_actions)."""
        g = self.g.detach()
        return g.unsqueeze(-1).expand(self.mdp.transitions.shape[:2]) if self.inputs == "state" else g

    def shaped(self) -> th.Tensor:
        """Return f(s, a, s'), shape (n_states, n_actions, n_states)."""
        g = self.g.unsqueeze(-1) if self.inputs == "state" else self.g
        return g.unsqueeze(-1) + self.mdp.gamma * self.h - self.h[:, None, None]

    def fit(self, expert: th.Tensor, n_rounds: int = 100, n_steps: int = 20, learning_rate: float = 0.1) -> th.Tensor:
        """Alternate between discriminator and generator; return the rewards g.

        :param expert: Occupancy of the expert, shape (n_states, n_actions).
        :param n_rounds: Number of rounds.
        :param n_steps: Number of discriminator steps per round.
        :param learning_rate: Initial learning rate, which decays to a hundredth.
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
