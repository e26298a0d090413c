"""What SACARDAE adds to SB3's algorithms: its estimator, gradient step and arguments."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.envs import FakeImageEnv

from ardae_rl import SACARDAE
from ardae_rl.registry import algorithm_class
from ardae_rl.sac_ardae.density import EncodedStates
from ardae_rl.sac_ardae.jacobian_clamping import JacobianClamping
from ardae_rl.score import Importance
from tests.common.models import assert_same_predictions, changed, parameters, temperature
from tests.sac_ardae.small import ARGUMENTS, SCORE_KWARGS, make, score


def test_settings_of_the_estimator(tmp_path: Path) -> None:
    """They come from ``score_kwargs``, which are saved as given."""
    given = {"net_arch": [16, 16], "score_kwargs": SCORE_KWARGS | {"noise_kwargs": {"scale": 0.2}, "loss": "ardae"}}
    before = copy.deepcopy(given)
    model = SACARDAE("MlpPolicy", "Pendulum-v1", policy_kwargs=given, **ARGUMENTS)
    model.save(tmp_path / "model.zip")
    for estimator in (model.estimator, SACARDAE.load(tmp_path / "model.zip", policy_kwargs=before).estimator):
        assert (estimator.noise.scale, estimator.loss, estimator.normalizer.name) == (0.2, "ardae", "contrastive")
    assert given == before == model.policy_kwargs, "the caller's"


def test_estimator_starts_with_its_own_learning_rate() -> None:
    """The learning rate is set at construction, because the estimator may be trained without ``train``."""
    model = make(learning_rate=1e-5, **score(learning_rate=2e-3))
    assert {group["lr"] for group in model.estimator.optimizer.param_groups} == {2e-3}
    assert {group["lr"] for group in make().estimator.optimizer.param_groups} == {3e-3}


@pytest.mark.parametrize(("location_path", "scales"), [(True, [1.0, 3.0]), (False, [1.0])])
def test_learning_rates_of_the_actor(location_path: bool, scales: list[float]) -> None:
    """The generator beside a location learns three times as fast at first, by any schedule, and less so later."""
    model = make(learning_rate=lambda progress: 1e-3 * progress, policy_kwargs={"location_path": location_path})
    optimizer = model.actor.optimizer
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3 * scale for scale in scales]
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.actor.parameters())
    if location_path:
        fast = {id(parameter) for parameter in optimizer.param_groups[1]["params"]}
        assert fast == {id(p) for part in (model.actor.noise_layer, model.actor.generator) for p in part.parameters()}
    model.learn(12)
    model._current_progress_remaining = 0.5
    for n_updates, scale in ((0, 3), (10_000, 2), (30_000, 1.5), (10**10, 1)):
        model._n_updates = n_updates
        model.train(gradient_steps=1, batch_size=8)
        expected = [1.0, scale] if location_path else [1.0]
        assert [group["lr"] / 0.5e-3 for group in optimizer.param_groups] == pytest.approx(expected, rel=1e-5)


def test_learning_rate_of_the_estimator() -> None:
    model = make(
        learning_rate=lambda progress: 1e-3 * progress, **score(learning_rate=lambda progress: 1e-2 * progress)
    )
    model.learn(15)
    model._current_progress_remaining = 0.25
    model.train(gradient_steps=1, batch_size=8)
    for optimizer, initial in ((model.actor.optimizer, 1e-3), (model.estimator.optimizer, 1e-2)):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(initial / 4)
    constant = make(**score(learning_rate=5e-3)).learn(12)
    assert {group["lr"] for group in constant.estimator.optimizer.param_groups} == {5e-3}


def test_policy_with_a_schedule_of_the_estimator_is_saved_alone(tmp_path: Path) -> None:
    model = make(**score(learning_rate=lambda progress: 1e-2 * progress))
    model.policy.save(str(tmp_path / "policy"))
    loaded = type(model.policy).load(str(tmp_path / "policy"), device="cpu")
    assert_same_predictions(model, loaded)
    assert {group["lr"] for group in loaded.estimator.optimizer.param_groups} == {1e-2}


def test_clamping_is_saved_and_may_be_changed(tmp_path: Path) -> None:
    model = make(clamping_kwargs={"eta": 0.1})
    model.save(tmp_path / "model.zip")
    assert SACARDAE.load(tmp_path / "model.zip").clamping == JacobianClamping(eta=0.1)
    assert SACARDAE.load(tmp_path / "model.zip", clamping_kwargs=None).clamping == JacobianClamping()


def test_value_of_the_temperature() -> None:
    for ent_coef in (0.3, "auto", "auto_0.1"):
        model = make(ent_coef=ent_coef).learn(12)
        assert th.equal(model.ent_coef_value, temperature(model)) and not model.ent_coef_value.requires_grad


def test_calibration_counts_the_gradient_steps() -> None:
    model = make(target_calibration=True).learn(15)
    assert model.calibration is not None and model.calibration.count == 5


# The networks that each part of a gradient step changes


def trained_with_batch(**arguments: Any) -> tuple[SACARDAE, Any]:
    model = make(**arguments).learn(15)
    assert model.replay_buffer is not None
    return model, model.replay_buffer.sample(32)


@pytest.mark.parametrize("arguments", [{}, {"policy_kwargs": {"share_features_extractor": True}}], ids=str)
def test_each_update_changes_its_own_networks(arguments: dict[str, Any]) -> None:
    model, batch = trained_with_batch(**arguments)
    before = parameters(model)
    states = model.policy.encode_states(batch.observations)
    model.update_score(states, 2)
    after_score = parameters(model)
    assert changed(before, after_score) == {"estimator"}
    model.update_critic(batch)
    after_critic = parameters(model)
    assert changed(after_score, after_critic) == {"critic"}
    own = model.critic.optimizer.param_groups[0]["params"]
    critic_gradients = [(parameter, parameter.grad.clone()) for parameter in own]
    _, log_prob = model.update_actor(states, th.tensor(0.0))
    after_actor = parameters(model)
    assert changed(after_critic, after_actor) == {"actor"}
    assert all(th.equal(p.grad, g) for p, g in critic_gradients), (
        "the actor's update computes no gradients for the critics"
    )
    assert log_prob is not None and log_prob.shape == (32, 1) and not log_prob.requires_grad
    model.update_temperature(log_prob)
    assert changed(after_actor, parameters(model)) == {"ent_coef"}


def test_warm_up_of_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """It precedes the first gradient step only, and is not repeated in a later call of ``learn``."""
    model = make(score_warmup=5, n_score_updates=2)
    n_steps: list[int] = []
    update = model.update_score

    def count(states: EncodedStates, n_updates: int) -> dict[str, th.Tensor]:
        n_steps.append(n_updates)
        return update(states, n_updates)

    monkeypatch.setattr(model, "update_score", count)
    model.learn(13).learn(12)
    assert n_steps == [5, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(("ent_coef", "n_calls"), [(0.05, 1), ("auto", 2)])
def test_density_is_estimated_only_where_it_is_needed(
    ent_coef: float | str, n_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fixed temperature, only the targets need it, and its correction in the first step. The same metrics are
    logged in any case."""
    model = make(ent_coef=ent_coef, **score(normalization="importance"))
    calls: list[Any] = []
    log_partition = Importance.log_partition

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return log_partition(*arguments)

    monkeypatch.setattr(Importance, "log_partition", count)
    model.learn(15, log_interval=1000)
    assert len(calls) == 5 * n_calls + 1
    assert {"train/entropy", "train/ent_coef", "train/actor_loss"} <= model.logger.name_to_value.keys()


def test_features_extractor_is_trained_with_the_actor() -> None:
    env = FakeImageEnv(screen_height=40, screen_width=40, discrete=False)
    policy_kwargs = {"features_extractor_kwargs": {"features_dim": 8}}
    model = make(env, "CnnPolicy", policy_kwargs=policy_kwargs, batch_size=8, buffer_size=50).learn(12)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(8)
    before = parameters(model)
    model.update_actor(model.policy.encode_states(batch.observations), th.tensor(0.0))
    after = parameters(model)
    extractor = [name for name in before if name.startswith("actor.features_extractor") and "weight" in name]
    assert extractor and all(not th.equal(before[name], after[name]) for name in extractor)


# Bad arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            score(parameterization="score"),
            "`backup_entropy` must be False and `ent_coef` a number if the estimator has no log-density, got True",
        ),
        (score(parameterization="score") | {"backup_entropy": False}, "got False and 'auto'"),
        (score(normalization=None) | {"ent_coef": 0.1}, r"no log-density, got True and 0\.1"),
        ({"clamping_kwargs": {"eta": -0.1}}, "`eta` must be >= 0, got -0.1"),
        (
            {"clamping_kwargs": {"clamp_eta": 0.1}},
            "`clamping_kwargs` must only have the keys 'eta', 'xi', 'nu', .*, got 'clamp_eta'",
        ),
        ({"actor_gradient_limit": -1}, "`actor_gradient_limit` must be >= 0, got -1"),
        ({"n_score_updates": 0}, "`n_score_updates` must be >= 1, got 0"),
        ({"score_batch_size": 0}, "`score_batch_size` must be >= 1, got 0"),
        ({"n_action_samples": 1}, "`n_action_samples` must be >= 2, got 1"),
        ({"score_warmup": -1}, "`score_warmup` must be >= 0, got -1"),
        ({"policy_kwargs": {"noise_dim": 0}}, "`noise_dim` must be >= 1, got 0"),
        (
            {"target_calibration": True, "backup_entropy": False},
            "`backup_entropy` must be True with target_calibration=True, got False",
        ),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("algo", ["sac_ardae", "sac_gaussian"])
def test_loading_n_step_returns_warns_of_nothing(algo: str, tmp_path: Path) -> None:
    algorithm: Any = algorithm_class(algo)
    algorithm("MlpPolicy", "Pendulum-v1", n_steps=3, buffer_size=10, policy_kwargs={"net_arch": [8]}).save(
        tmp_path / "m"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert algorithm.load(tmp_path / "m").replay_buffer.n_steps == 3
    with pytest.warns(UserWarning, match="`n_steps=5` is ignored"):
        algorithm.load(tmp_path / "m", n_steps=5)
