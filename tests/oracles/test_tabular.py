"""Rewards in random deterministic MDPs of 16 states and 4 actions: recovered up to a constant, and transferred."""

import math

import pytest
import torch as th

from tests.oracles.tabular import MCEIRL, MDP, TabularAIRL, expected_return, occupancy, soft_value_iteration

N_STATES, N_ACTIONS, GAMMA = 16, 4, 0.9


def table(seed: int) -> MDP:
    generator = th.Generator().manual_seed(seed)
    next_states = th.stack([th.randperm(N_STATES, generator=generator) for _ in range(N_ACTIONS)], 1)
    transitions = th.nn.functional.one_hot(next_states, N_STATES).double()
    return MDP(transitions, th.full((N_STATES,), 1 / N_STATES, dtype=th.float64), GAMMA)


def state_rewards(seed: int) -> th.Tensor:
    r = th.randn(N_STATES, dtype=th.float64, generator=th.Generator().manual_seed(seed))
    return r.unsqueeze(-1).expand(N_STATES, N_ACTIONS)


def soft_return(mdp: MDP, rewards: th.Tensor, policy: th.Tensor) -> float:
    """Return the expected return plus entropy, which the expert maximizes."""
    return expected_return(mdp, rewards - policy.log(), policy)


def test_one_state_has_a_closed_form() -> None:
    """π is the softmax of the rewards, V = (ln Σ e^r) / (1 - γ)."""
    mdp = MDP(th.ones(1, 3, 1, dtype=th.float64), th.ones(1, dtype=th.float64), GAMMA)
    rewards = th.tensor([[0.5, -1.0, 2.0]], dtype=th.float64)
    solution = soft_value_iteration(mdp, rewards)
    th.testing.assert_close(solution.policy, rewards.softmax(-1), atol=1e-10, rtol=0)
    assert float(solution.values) == pytest.approx(float(rewards.logsumexp(-1)) / (1 - GAMMA), abs=1e-9)
    assert float(occupancy(mdp, solution.policy).sum()) == pytest.approx(1, abs=1e-12)


def test_values_are_returns() -> None:
    """V of the soft-optimal policy is its expected return with entropy; occupancies are discounted visits."""
    mdp, rewards = table(0), state_rewards(0)
    solution = soft_value_iteration(mdp, rewards)
    assert soft_return(mdp, rewards, solution.policy) == pytest.approx(float(mdp.start @ solution.values), abs=1e-8)
    states = mdp.start
    between = th.einsum("sa,sat->st", solution.policy, mdp.transitions)
    visits = th.zeros(N_STATES, dtype=th.float64)
    for t in range(400):
        visits += (1 - GAMMA) * GAMMA**t * states
        states = states @ between
    th.testing.assert_close(occupancy(mdp, solution.policy).sum(-1), visits, atol=1e-10, rtol=0)


@pytest.mark.parametrize("method", [MCEIRL, TabularAIRL])
@pytest.mark.parametrize("seed", range(3))
def test_reward_of_the_state_is_recovered_and_transfers(method: type[MCEIRL] | type[TabularAIRL], seed: int) -> None:
    mdp, elsewhere, rewards = table(seed), table(100 + seed), state_rewards(7 + seed)
    expert = occupancy(mdp, soft_value_iteration(mdp, rewards).policy)
    learned = method(mdp, "state").fit(expert)
    assert th.corrcoef(th.stack([learned[:, 0], rewards[:, 0]]))[0, 1] >= 0.99
    best = soft_return(elsewhere, rewards, soft_value_iteration(elsewhere, rewards).policy)
    reached = soft_return(elsewhere, rewards, soft_value_iteration(elsewhere, learned).policy)
    assert reached >= best - 0.01 * abs(best)


@pytest.mark.parametrize("method", [MCEIRL, TabularAIRL])
@pytest.mark.parametrize("seed", range(3))
def test_reward_of_state_and_action_does_not_transfer(method: type[MCEIRL] | type[TabularAIRL], seed: int) -> None:
    """It explains the expert under the dynamics it was learned in, and transfers poorly to others."""
    mdp, elsewhere, rewards = table(seed), table(100 + seed), state_rewards(7 + seed)
    optimal = soft_value_iteration(mdp, rewards).policy
    model = method(mdp, "state_action")
    learned = model.fit(occupancy(mdp, optimal))
    if isinstance(model, TabularAIRL):  # with its shaping, which leaves optimal policies unchanged
        shaped = (mdp.transitions * model.shaped().detach()).sum(-1)
        th.testing.assert_close(soft_value_iteration(mdp, shaped).policy, optimal, atol=1e-2, rtol=0)
    else:
        th.testing.assert_close(soft_value_iteration(mdp, learned).policy, optimal, atol=1e-2, rtol=0)
    best = soft_return(elsewhere, rewards, soft_value_iteration(elsewhere, rewards).policy)
    reached = soft_return(elsewhere, rewards, soft_value_iteration(elsewhere, learned).policy)
    assert reached < best - 0.05 * abs(best)


def test_discriminator_learns_the_advantages() -> None:
    """At the optimum f(s, a, s') = ln π_E(a|s), so that D = 1/2 wherever the expert goes."""
    mdp = table(3)
    solution = soft_value_iteration(mdp, state_rewards(3))
    model = TabularAIRL(mdp, "state")
    model.fit(occupancy(mdp, solution.policy))
    f = (mdp.transitions * model.shaped().detach()).sum(-1)
    th.testing.assert_close(f, solution.advantages, atol=0.02, rtol=0)


def test_gradient_of_the_likelihood() -> None:
    """After the fit, E_expert[-ln π] is at its minimum: every perturbation increases it."""
    mdp, rewards = table(4), state_rewards(4)
    expert = occupancy(mdp, soft_value_iteration(mdp, rewards).policy)
    model = MCEIRL(mdp, "state")
    learned = model.fit(expert)

    def negative_log_likelihood(r: th.Tensor) -> float:
        return -float((expert * soft_value_iteration(mdp, r).advantages).sum())

    minimum = negative_log_likelihood(learned)
    for k in range(3):
        other = learned + 0.1 * state_rewards(50 + k)
        assert negative_log_likelihood(other) > minimum
    assert minimum == pytest.approx(-float((expert * (expert / expert.sum(-1, keepdim=True)).log()).sum()), abs=1e-8)
    assert not math.isnan(minimum)


def test_inputs_are_checked() -> None:
    for method in (MCEIRL, TabularAIRL):
        with pytest.raises(ValueError, match="`inputs` must be one of 'state', 'state_action', got 'action'"):
            method(table(0), "action")
