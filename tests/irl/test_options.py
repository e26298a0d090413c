"""Options of the discriminators during training."""

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from torch.nn import functional as F

from ardae_envs.absorbing import AbsorbingState
from ardae_rl.irl import AIRL, GAIL, GANGCL, collect_demonstrations, transitions
from ardae_rl.irl.discriminator import Samples
from ardae_rl.irl.log_density import policy_log_prob
from ardae_rl.irl.transitions import Transitions, concatenate
from tests.irl.counting import Counting
from tests.irl.test_adversarial import demonstrations, make
from tests.irl.test_trajectories import Always

EVERYTHING: dict[str, Any] = {
    "gradient_penalty": 1.0,
    "mixup": 1.0,
    "label_smoothing": 0.1,
    "entropy_bonus": 0.1,
    "normalize_rewards": True,
    "proximal_weight": 1.0,
}
NETWORK: dict[str, Any] = {"hidden": (8,), "dropout": 0.5, "input_dropout": 0.1, "spectral_norm": True}


@pytest.mark.parametrize("method", [AIRL, GAIL])
@pytest.mark.parametrize("source", ["recent", "replay"])
def test_all_compose(method: type[Any], source: str) -> None:
    kwargs = {"source": source, "regularization": EVERYTHING}
    model = make(method, discriminator_kwargs=kwargs, reward_kwargs=NETWORK, weight_decay=0.1).learn(60)
    names = ("gradient_penalty", "demo_accuracy", "reward_change", "proximal_weight")
    assert all(np.isfinite(model.logger.name_to_value[f"discriminator/{name}"]) for name in names)
    assert not model.reward_net.training and float(model.discriminator.reward_scale) != 1


def test_replayed_samples() -> None:
    """They are rows of the replay buffer, and ln q is of the mixture that filled it."""
    model = make(AIRL, discriminator_kwargs={"source": "replay", "n_recent": 30}).learn(60)
    _, samples = model.discriminator.training_data(model._demos, model.generator)
    assert len(samples.log_q) == 30 and model.discriminator.mixture.window == 500
    stored = 2 * th.as_tensor(model.generator.replay_buffer.actions[:60, 0])
    assert all(th.isclose(stored, action, atol=1e-5).all(1).any() for action in samples.transitions.actions)
    counts = [component.n_samples for component in model.discriminator.mixture.components]
    assert counts[0] == 10 and sum(counts) == 60


def test_rounds_of_environments_that_do_not_divide_the_samples() -> None:
    """Three environments keep 18 of 20 recent samples, which must suffice for a round."""
    arguments: dict[str, Any] = {"disc_interval": 20, "discriminator_kwargs": {"n_recent": 20}}
    model = make(AIRL, env=make_vec_env(Counting, n_envs=3), demos=demonstrations(), **arguments)
    before = [parameter.detach().clone() for parameter in model.reward_net.parameters()]
    model.learn(60)
    assert any(not th.equal(a, b) for a, b in zip(before, model.reward_net.parameters(), strict=True))


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("form", ["softplus", "logit", "log"])
def test_normalized_rewards_have_unit_variance(form: str, batch_size: int) -> None:
    """Over all samples, whatever form they have; the first round sets the scale."""
    kwargs = {"reward": form, "regularization": {"normalize_rewards": True}}
    model = make(GAIL, discriminator_kwargs=kwargs, demo_batch_size=batch_size)
    data = make(GAIL).learn(60).discriminator.training_data(model._demos, model.generator)
    model.discriminator.finish_round(*data)
    assert model.reward(data[1].transitions).std(unbiased=False).item() == pytest.approx(1, rel=1e-4)


def test_scale_of_the_rewards_after_loading(tmp_path: Path) -> None:
    """It goes on as the average of all rounds, instead of being set anew by the first one."""
    model = make(GAIL, discriminator_kwargs={"regularization": {"normalize_rewards": True}}).learn(80)
    data = model.discriminator.training_data(model._demos, model.generator)
    model.save(tmp_path / "model")
    each: Any
    for each in (model, GAIL.load(tmp_path / "model", device="cpu")):
        before = float(each.discriminator.reward_scale)
        with th.no_grad():
            each.reward_net.network[-1].weight.mul_(3)
        std = each.discriminator.generator_reward(each.reward_net(*data[1].transitions)).std(unbiased=False)
        each.discriminator.finish_round(*data)
        assert float(each.discriminator.reward_scale) == pytest.approx(before + (float(std) - before) / 5, rel=1e-4)


@pytest.mark.parametrize("form", ["softplus", "logit", "log"])
def test_forms_of_the_reward(form: str) -> None:
    model = make(GAIL, discriminator_kwargs={"reward": form})
    batch = concatenate(model._demos)
    logits = model.reward_net(*batch)
    expected = {"softplus": -(1 - logits.sigmoid()).log(), "logit": logits, "log": logits.sigmoid().log()}[form]
    th.testing.assert_close(model.reward(batch), expected.detach())
    with pytest.raises(ValueError, match="`reward` must be one of 'softplus', 'logit', 'log', got 'sum'"):
        make(GAIL, discriminator_kwargs={"reward": "sum"})


def test_loss_is_the_sum_of_its_terms() -> None:
    settings = {"gradient_penalty": 3.0, "penalty_points": "demonstrations", "proximal_weight": 5.0}
    model = make(GAIL, discriminator_kwargs={"regularization": settings}).learn(40)
    discriminator = model.discriminator
    demos, samples = discriminator.training_data(model._demos, model.generator)
    discriminator.start_round()
    with th.no_grad():
        for parameter in model.reward_net.parameters():
            parameter += 0.1
    before = th.get_rng_state()
    loss, metrics = discriminator.loss(demos, samples, model.generator)
    th.set_rng_state(before)
    parts = [discriminator._draw(part).transitions for part in (demos, samples)]
    logits = [model.reward_net(*part) for part in parts]
    change = discriminator.proximal.change(th.cat(logits), concatenate(parts))
    assert change.item() > 0
    expected = F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean()
    expected = expected + 3 * metrics["gradient_penalty"] + discriminator.proximal.weight * change
    th.testing.assert_close(loss, expected)


def test_change_of_the_reward_in_a_round() -> None:
    """It is measured on demonstrations and samples, as it is penalized."""
    model = make(GAIL, discriminator_kwargs={"regularization": {"proximal_weight": 1.0}}).learn(40)
    demos, samples = model.discriminator.training_data(model._demos, model.generator)
    parts = [part.transitions._replace(actions=th.full((2, 1), action)) for part, action in ((demos, 2), (samples, 0))]
    parts = [Transitions(*(column[:2].float() * 0 if k != 1 else column for k, column in enumerate(p))) for p in parts]
    model.discriminator.start_round()
    with th.no_grad():
        before = th.cat([model.reward_net(*part) for part in parts])
        model.reward_net.network[0].weight[:, 2] += 1
        after = th.cat([model.reward_net(*part) for part in parts])
    metrics = model.discriminator.finish_round(*(Samples(part, th.zeros(2)) for part in parts))
    assert float(metrics["reward_change"]) == pytest.approx(float((after - before).square().mean()), rel=1e-5)
    assert float(metrics["reward_change"]) > 0


def test_a_learned_partition_function_does_not_decay() -> None:
    """Weight decay would pull ln Z towards zero."""
    model = make(GANGCL, weight_decay=0.5, disc_learning_rate=0.1, discriminator_kwargs={"partition": "learned"})
    model.discriminator.partition.log_z.data.fill_(3.0)
    before = model.reward_net.network[0].weight.detach().clone()
    for parameter in model.discriminator.parameters():
        parameter.grad = th.zeros_like(parameter)
    model.optimizer.step()
    assert float(model.discriminator.partition.log_z.detach()) == 3
    th.testing.assert_close(model.reward_net.network[0].weight.detach(), 0.95 * before)


def test_weight_decay_is_decoupled() -> None:
    """Without a gradient, parameters shrink by the factor 1 - learning rate x weight decay."""
    model = make(GAIL, weight_decay=0.5, disc_learning_rate=0.1)
    before = [parameter.detach().clone() for parameter in model.reward_net.parameters()]
    for parameter in model.reward_net.parameters():
        parameter.grad = th.zeros_like(parameter)
    model.optimizer.step()
    for old, new in zip(before, model.reward_net.parameters(), strict=True):
        th.testing.assert_close(new.detach(), 0.95 * old)


@pytest.mark.parametrize("generator", ["sac", "sac_gaussian", "ppo"])
def test_cloning_before_training(generator: str) -> None:
    """Demonstrations always have action 1."""
    model = make(AIRL, generator)
    demos = concatenate(model._demos)
    before = policy_log_prob(model.generator, demos.observations, demos.actions, 0.01).mean()
    final = model.clone_demonstrations(200, batch_size=16, learning_rate=5e-3)
    after = policy_log_prob(model.generator, demos.observations, demos.actions, 0.01).mean()
    assert float(after) > float(before) + 0.5 and final > float(before)
    assert model.predict(np.array([2.0, 1.0], np.float32), deterministic=True)[0] == pytest.approx(1, abs=0.3)


def test_policies_that_cannot_clone() -> None:
    with pytest.raises(ValueError, match=r"`generator` must have a Gaussian policy .* got SACNF"):
        make(AIRL, "sac_nf").clone_demonstrations(1)
    with pytest.raises(ValueError, match="`demonstrations` must be given for behavioral cloning, got None"):
        AIRL("MlpPolicy", Counting()).clone_demonstrations(1)


@pytest.mark.parametrize("generator", ["sac", "ppo"])
@pytest.mark.parametrize("method", [AIRL, GAIL, GANGCL])
def test_actions_in_an_absorbing_state(method: type[Any], generator: str, tmp_path: Path) -> None:
    """They do nothing: the reward does not depend on them, and the policy counts as uniform."""
    model = make(method, generator, AbsorbingState(Counting(ends=True)), demonstrations(2, ends=True)).learn(40)
    model.save(tmp_path / "model")
    model.reward_net.save(str(tmp_path / "reward.pt"))
    observations = th.tensor([[0.0, 0.0, 1.0]]).repeat(5, 1)
    batch = Transitions(observations, th.linspace(-2, 2, 5)[:, None], observations, th.zeros(5))
    acting = batch._replace(observations=th.tensor([[1.0, 1.0, 0.0]]).repeat(5, 1))
    uniform = math.log(1 / 4 if generator == "ppo" else 1 / 2)  # PPO's density is per unit of [-2, 2]
    for each in (model, method.load(tmp_path / "model", device="cpu")):
        rewards = each.reward(batch)
        assert float(rewards.std()) == pytest.approx(0, abs=1e-6) and float(each.reward(acting).std()) > 1e-4
        if method is not GAIL:
            log_probs = each.discriminator.log_prob(batch, each.generator)
            assert log_probs.tolist() == pytest.approx([uniform] * 5)
            assert float(each.discriminator.log_prob(acting, each.generator).std()) > 1e-4
    alone = type(model.reward_net).load(str(tmp_path / "reward.pt"), device="cpu")
    assert float(alone(*batch).std()) == pytest.approx(0, abs=1e-6)
    if method is not GAIL:
        mixture = model.discriminator.mixture
        rows = model.discriminator.component_log_probs(mixture, batch, model.generator)
        assert rows.flatten().tolist() == pytest.approx([uniform] * rows.numel())


def test_an_environment_with_or_without_an_absorbing_state() -> None:
    """What marks an absorbing state is another observation in other environments."""
    model = make(AIRL)
    assert float(model.reward_net.has_absorbing_state) == 0
    assert model.reward_net.absorbed(th.ones(3, 2)).tolist() == [0, 0, 0]


def test_networks_see_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that many demonstrated images fit into memory, with the same results."""
    model = make(AIRL).learn(40)
    demos = concatenate(model._demos)
    expected = model.discriminator.log_q(demos, model.generator), model.reward_net.scale.clone()
    monkeypatch.setattr(transitions, "_BLOCK", 4)
    sizes: list[int] = []
    for network in (model.generator.policy.actor.features_extractor, model.reward_net.features_extractor):
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    model.reward_net.fit_normalizer(demos.observations)
    th.testing.assert_close(model.discriminator.log_q(demos, model.generator), expected[0])
    th.testing.assert_close(model.reward_net.scale, expected[1])
    assert max(sizes) == 4 and len(sizes) > 4


@pytest.mark.parametrize("method", [AIRL, GAIL, GANGCL])
def test_demonstrations_get_absorbing_states(method: type[Any], tmp_path: Path) -> None:
    """In an environment with absorbing states, demonstrations without them are extended by one step."""
    env = AbsorbingState(Counting(ends=True))
    model = make(method, "sac", env, demonstrations(2, ends=True))
    assert [len(demo.actions) for demo in model._demos] == [4, 4]
    assert model._demos[0].observations[:, 2].tolist() == [0, 0, 0, 1]
    assert model._demos[0].next_observations[:, 2].tolist() == [0, 0, 1, 1]
    assert not model._demos[0].terminated.any()
    model.learn(30)
    model.save(tmp_path / "model")
    loaded = method.load(tmp_path / "model", env, device="cpu", demonstrations=demonstrations(2, ends=True))
    assert loaded.demonstrations[0].observations.shape == (5, 3)
    always: Any = Always(np.array([1.0], np.float32))
    own = collect_demonstrations(always, make_vec_env(lambda: AbsorbingState(Counting(ends=True))), 1)
    assert len(make(method, "sac", env, own)._demos[0].actions) == 4  # these have them already
    assert isinstance(env, gym.Wrapper)
