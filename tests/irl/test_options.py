"""Options of the discriminators, as a training applies them."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from torch.nn import functional as F

from ardae_envs.absorbing import AbsorbingState
from ardae_rl.irl import AIRL, GAIL, GANGCL, collect_demonstrations
from ardae_rl.irl.log_density import policy_log_prob
from ardae_rl.irl.transitions import concatenate
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
    """Of 20 recent samples, three environments keep 18; these have to be enough for a round."""
    arguments: dict[str, Any] = {"disc_interval": 20, "discriminator_kwargs": {"n_recent": 20}}
    model = make(AIRL, env=make_vec_env(Counting, n_envs=3), demos=demonstrations(), **arguments)
    before = [parameter.detach().clone() for parameter in model.reward_net.parameters()]
    model.learn(60)
    assert any(not th.equal(a, b) for a, b in zip(before, model.reward_net.parameters(), strict=True))


@pytest.mark.parametrize("form", ["softplus", "logit", "log"])
def test_normalized_rewards_have_unit_variance(form: str) -> None:
    """Whatever form they have; the first round sets the scale."""
    kwargs = {"reward": form, "regularization": {"normalize_rewards": True}}
    model = make(GAIL, discriminator_kwargs=kwargs, demo_batch_size=2000)
    _, samples = make(GAIL).learn(60).discriminator.training_data(model._demos, model.generator)
    model.discriminator.finish_round(samples)
    assert model.reward(samples.transitions).std().item() == pytest.approx(1, rel=0.05)


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
    parts = [model.reward_net.encode(*discriminator._draw(part)) for part in (demos, samples)]
    logits = [model.reward_net.reward_of(part) for part in parts]
    both = type(parts[0])(*(th.cat(pair) for pair in zip(*parts, strict=True)))
    change = discriminator.proximal.change(th.cat(logits), both)
    assert change.item() > 0
    expected = F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean()
    expected = expected + 3 * metrics["gradient_penalty"] + discriminator.proximal.weight * change
    th.testing.assert_close(loss, expected)


def test_weight_decay_is_decoupled() -> None:
    """Without a gradient, parameters shrink by the factor 1 - learning rate x weight decay."""
    model = make(GAIL, weight_decay=0.5, disc_learning_rate=0.1)
    before = [parameter.detach().clone() for parameter in model.reward_net.parameters()]
    for parameter in model.reward_net.parameters():
        parameter.grad = th.zeros_like(parameter)
    model.optimizer.step()
    for old, new in zip(before, model.reward_net.parameters(), strict=True):
        th.testing.assert_close(new.detach(), 0.95 * old)


@pytest.mark.parametrize("generator", ["sac", "ppo"])
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
    with pytest.raises(ValueError, match="`demonstrations` must be given to be cloned, got None"):
        AIRL("MlpPolicy", Counting()).clone_demonstrations(1)


@pytest.mark.parametrize("method", [AIRL, GAIL, GANGCL])
def test_demonstrations_get_absorbing_states(method: type[Any], tmp_path: Any) -> None:
    """In an environment with absorbing states, demonstrations without them go on for one step after their end."""
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
