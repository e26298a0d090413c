"""What SACNF adds to SB3's SAC: exact densities, and its policy's arguments."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from ardae_rl.sac_nf import MlpPolicy
from ardae_rl.sac_nf.flows import FLOWS

OBSERVATIONS = spaces.Box(-1, 1, (3,))
ACTIONS = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))
all_flows = pytest.mark.parametrize("flow", FLOWS)


def random_policy(flow: str, action_space: spaces.Box = ACTIONS, **arguments: Any) -> MlpPolicy:
    """Return a policy that is far from a Gaussian."""
    th.manual_seed(0)
    policy = MlpPolicy(OBSERVATIONS, action_space, lambda _: 1e-3, net_arch=[16], flow=flow, **arguments)
    spread = 0.4 if flow in ("radial", "planar") else 0.05
    with th.no_grad():
        for parameter in policy.actor.flow.parameters():
            parameter.add_(spread * th.randn_like(parameter))
    return policy


@all_flows
@pytest.mark.parametrize("state_dependent_std", [True, False])
def test_densities_agree(flow: str, state_dependent_std: bool) -> None:
    """The density given with a sampled action is the one that ``log_prob`` returns for it."""
    th.manual_seed(0)
    policy = random_policy(flow, state_dependent_std=state_dependent_std)
    obs = th.randn(30, 3)
    with th.no_grad():
        scaled, log_prob = policy.actor.action_log_prob(obs)
    actions = th.tensor([0.0, 0.25]) + th.tensor([2.0, 0.25]) * scaled
    inside = scaled.abs().max(1).values < 0.999  # nearer to the bounds, single precision loses the action before tanh
    asked = policy.log_prob(obs, actions)
    assert inside.sum() > 20
    th.testing.assert_close(asked[inside], log_prob[inside] - math.log(2 * 0.25), rtol=1e-3, atol=0.02)


def test_saturated_actions_have_a_limited_density() -> None:
    """The sampled actions lie 50 and 1000 beyond the bounds. Only the value is limited, not the gradient, 2 tanh x.

    The entropy has no limit: ln(1 - tanh² x) is about 2 (ln 2 - |x|).
    """
    policy = random_policy("radial", n_flows=1)
    with th.no_grad():
        policy.actor.mu.weight.zero_()
        policy.actor.mu.bias.copy_(th.tensor([50.0, -1000.0]))
    _, log_prob = policy.actor.action_log_prob(th.zeros(5, 3))
    assert log_prob.max() < -2 * math.log(2e-6) + 5
    (gradient,) = th.autograd.grad(log_prob.mean(), policy.actor.mu.bias)
    th.testing.assert_close(gradient, th.tensor([2.0, -2.0]), rtol=0.1, atol=0)
    assert policy.entropy(th.zeros(1, 3)).item() == pytest.approx(-2 * (50 + 1000), abs=20)


@all_flows
def test_density_integrates_to_one_over_the_actions(flow: str) -> None:
    policy = random_policy(flow, spaces.Box(-2, 2, (1,)))
    obs = th.randn(4, 3)
    grid = 2 * th.tanh(th.linspace(-7, 7, 2001))
    for observation in obs:
        density = policy.log_prob(observation.expand(len(grid), -1), grid.unsqueeze(1)).exp()
        assert th.trapezoid(density, grid).item() == pytest.approx(1, abs=0.01)


def test_entropy_is_minus_the_mean_log_prob() -> None:
    policy = random_policy("radial")
    obs = th.randn(2, 3)
    entropy = policy.entropy(obs, n_samples=3000)
    repeated = obs.repeat_interleave(3000, 0)
    with th.no_grad():
        _, log_prob = policy.actor.action_log_prob(repeated)
    expected = math.log(2 * 0.25) - log_prob.view(2, 3000).mean(1)
    th.testing.assert_close(entropy, expected, rtol=0, atol=0.08)  # standard errors of about 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flow": "spline"}, "`flow` must be one of 'radial', 'planar', 'autoregressive', 'coupling', got 'spline'"),
        ({"n_flows": 0}, "`n_flows` must be >= 1, got 0"),
        ({"use_sde": True}, "`use_sde` must be False, .* got True"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MlpPolicy(OBSERVATIONS, ACTIONS, lambda _: 1e-3, **arguments)
