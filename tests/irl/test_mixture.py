"""The density of the policies that collected the samples, compared with policies whose densities are known."""

import math
from typing import Any

import pytest
import torch as th
from torch import nn

from ardae_rl.irl import AIRL
from ardae_rl.irl.generator import acts_randomly
from ardae_rl.irl.mixture import PolicyMixture
from tests.irl.counting import Counting
from tests.irl.test_adversarial import demonstrations, make


class Constant(nn.Module):
    """A policy with one parameter, which is its log-density everywhere; critics do not belong to a density."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(th.tensor(value))
        self.critic = nn.Linear(1, 1)

    def at(self, value: float) -> "Constant":
        self.value.data.fill_(value)
        return self


def log_probs(mixture: PolicyMixture, policy: Constant, name: str | None = None) -> list[float]:
    uniform = th.full((1,), -7.0)
    rows = mixture.log_probs(policy, lambda: policy.value.detach().clone().reshape(1), uniform, name)
    return rows.flatten().tolist()


def test_each_component_has_its_own_parameters_and_share() -> None:
    mixture, policy = PolicyMixture(window=10), Constant()
    mixture.add(2, random=True)
    mixture.add(3, random=False)
    mixture.take_snapshot(policy.at(1.0))
    mixture.add(4, random=False)
    mixture.take_snapshot(policy.at(2.0))
    assert log_probs(mixture, policy.at(5.0)) == [-7.0, 1.0, 2.0]
    assert float(policy.value.detach()) == 5.0  # restored
    assert mixture.log_weights == pytest.approx([math.log(n / 9) for n in (2, 3, 4)])


def test_old_samples_leave_the_window() -> None:
    mixture, policy = PolicyMixture(window=10), Constant()
    for value in range(4):
        mixture.add(4, random=False)
        mixture.take_snapshot(policy.at(value))
    assert log_probs(mixture, policy) == [1.0, 2.0, 3.0]
    assert [component.n_samples for component in mixture.components] == [2, 4, 4]


def test_neighbors_are_merged() -> None:
    """Few policies are kept, which account for all samples."""
    mixture, policy = PolicyMixture(window=100, max_policies=3), Constant()
    for value in range(8):
        mixture.add(1, random=False)
        mixture.take_snapshot(policy.at(value))
    assert len(mixture.components) == 3 and sum(component.n_samples for component in mixture.components) == 8
    assert log_probs(mixture, policy)[-1] == 7.0


def test_densities_of_unchanging_data_are_kept() -> None:
    mixture, policy = PolicyMixture(window=10), Constant()
    mixture.add(1, random=False)
    mixture.take_snapshot(policy.at(1.0))
    assert log_probs(mixture, policy, "demonstrations") == [1.0]
    component = mixture.components[0]
    assert component.state is not None and not any(name.startswith("critic") for name in component.state)
    component.state["value"].fill_(3.0)
    assert log_probs(mixture, policy, "demonstrations") == [1.0] and log_probs(mixture, policy) == [3.0]


@pytest.mark.parametrize("generator", ["sac", "sac_ardae", "ppo"])
def test_log_q_is_the_mixture_of_past_policies(generator: str) -> None:
    """Of the policies at the ends of the rounds, and of the uniform actions at first: ln ½ in one dimension."""
    model = make(AIRL, generator)
    past: list[Any] = []
    discriminator = model.discriminator
    training_data = discriminator.training_data

    def recorded(demos: Any, algorithm: Any) -> Any:
        demo_transitions = demos[0]
        past.append(discriminator.log_prob(demo_transitions, algorithm))
        return training_data(demos, algorithm)

    discriminator.training_data = recorded
    model.learn(60)
    uniform = th.full((5,), math.log(0.5))
    weights = {"ppo": [0, 20, 20, 20]}.get(generator, [10, 10, 20, 20])
    terms = [weight / 60 * log_prob.exp() for weight, log_prob in zip(weights, [uniform, *past], strict=True)]
    demos = model._demos[0]
    th.testing.assert_close(discriminator.log_q(demos, model.generator), th.stack(terms).sum(0).log())


def test_random_actions() -> None:
    model = AIRL("MlpPolicy", Counting(), demonstrations(1), "sac", {"learning_starts": 3}, device="cpu")
    assert acts_randomly(model.generator)
    model.generator.num_timesteps = 3
    assert not acts_randomly(model.generator)
    model.generator.num_timesteps, model.generator.use_sde, model.generator.use_sde_at_warmup = 0, True, True
    assert not acts_randomly(model.generator)
