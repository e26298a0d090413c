"""Policies trained against a critic that stands still: what is trained, what is measured, and what is reported."""

import math
from typing import Any

import gymnasium as gym
import pytest
import torch as th

from experiments.frozen_critic import FrozenSAC, FrozenSACARDAE, objective, summary


class ConstantCritic(th.nn.Module):
    """Two critics with the values 3 and 2 everywhere."""

    def forward(self, observations: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        ones = th.ones(len(observations), 1)
        return 3 * ones, 2 * ones


def model(cls: type[Any], **arguments: Any) -> Any:
    env = gym.make("Pendulum-v1")
    made = cls("MlpPolicy", env, ent_coef=0.5, batch_size=8, buffer_size=1, seed=0, device="cpu", **arguments)
    made.observations = th.randn(50, 3)
    return made


@pytest.mark.parametrize(("cls", "arguments"), [(FrozenSAC, {}), (FrozenSACARDAE, {"score_warmup": 1})])
def test_the_policy_alone_is_trained(cls: type[Any], arguments: dict[str, Any]) -> None:
    trained = model(cls, **arguments)
    before = {name: value.clone() for name, value in trained.policy.state_dict().items()}
    assert len(list(trained.updates(4, check_every=2))) == 2
    after = trained.policy.state_dict()
    changed = {name.partition(".")[0] for name, value in before.items() if not th.equal(value, after[name])}
    assert "actor" in changed and not changed & {"critic", "critic_target"}


@pytest.mark.parametrize("cls", [FrozenSAC, FrozenSACARDAE])
def test_the_objective_adds_the_entropy_to_the_smaller_value(cls: type[Any]) -> None:
    """Of a policy that is nearly uniform on [-1, 1], whose entropy is below log 2."""
    measured = model(cls)
    measured.policy.critic = ConstantCritic()
    figures = objective(measured, measured.observations[:4], 0.5, n_samples=500, n_components=600)
    assert figures["q_value"] == 2
    assert figures["objective"] == pytest.approx(2 + 0.5 * figures["entropy"])
    assert 0.3 < figures["entropy"] < math.log(2) + 0.05


def test_differences_are_paired_by_seed() -> None:
    """Differences of 0.1, 0.2 and 0.3 have the mean 0.2 and the margin 4.303 * 0.1 / √3."""
    row = {"env": "Hopper-v5", "update": "9"}
    sac = [row | {"algo": "sac", "seed": seed, "objective": j} for seed, j in (("2", "3"), ("0", "1"), ("1", "2"))]
    ours = [row | {"algo": "x", "seed": seed, "objective": j} for seed, j in (("0", "1.1"), ("1", "2.2"), ("2", "3.3"))]
    baseline, line = summary([*sac, *ours])
    margin = 4.303 * 0.1 / math.sqrt(3)
    assert [line[f"ahead_{name}"] for name in ("estimate", "low", "high")] == pytest.approx(
        [0.2, 0.2 - margin, 0.2 + margin], abs=1e-3
    )
    assert math.isnan(baseline["ahead_estimate"]) and math.isnan(summary(ours)[0]["ahead_estimate"])
