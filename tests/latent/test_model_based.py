"""The gradient step shared by E2C and DVBF: learning rate, gradient clipping, random actions."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from ardae_rl.dvbf import DVBF
from ardae_rl.runs import progress
from tests.dvbf.test_dvbf import agent


@pytest.mark.parametrize(("max_grad_norm", "scale"), [(10.0, 1.0), (2.5, 0.5)])
def test_step_by_hand(max_grad_norm: float, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss 3 x + 4 y has a gradient norm of 5, which is clipped if it exceeds the bound."""
    model: Any = agent(max_grad_norm=max_grad_norm, learning_rate=0.1).learn(60)
    x, y = (th.nn.Parameter(th.zeros(())) for _ in range(2))
    monkeypatch.setattr(model.policy, "parameters", lambda: iter([x, y]))
    model.policy.optimizer = th.optim.SGD([x, y], lr=1.0)
    monkeypatch.setattr(model, "_loss", lambda batch: (3 * x + 4 * y, {}))
    before = model._n_updates
    model.train(gradient_steps=2, batch_size=4)
    assert model._n_updates == before + 2
    assert (x.item(), y.item()) == pytest.approx((-2 * 0.1 * 3 * scale, -2 * 0.1 * 4 * scale))


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (60, [1, 2 / 3, 1 / 3]),
        (120, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (90, [1, 7 / 9, 5 / 9, 1 / 3, 2 / 9, 1 / 9]),  # the second round goes beyond the 90 steps
    ],
)
def test_learning_rate_schedule(total: int, expected: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three gradient steps follow each 60 steps: their rates are those of the round's steps, never zero."""
    model: Any = agent(learning_rate=lambda progress: 0.01 * progress)
    loss, rates = model._loss, []

    def recorded(batch: Any) -> Any:
        rates.append(model.policy.optimizer.param_groups[0]["lr"])
        return loss(batch)

    monkeypatch.setattr(model, "_loss", recorded)
    model.learn(total)
    assert rates == pytest.approx([0.01 * rate for rate in expected])


def test_round_of_several_environments(tmp_path: Path) -> None:
    """A round has 60 steps over all environments, also after loading with another number of them."""
    model = agent(make_vec_env("Pendulum-v1", 4, seed=0)).learn(60)
    assert (model.num_timesteps, model._n_updates) == (60, 3)
    model.save(tmp_path / "model")
    loaded = DVBF.load(tmp_path / "model", env=make_vec_env("Pendulum-v1", 7, seed=0), device="cpu").learn(60)
    assert (loaded.num_timesteps, loaded._n_updates) == (63, 6)


def test_verbose_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    agent(verbose=1).learn(60)
    assert "model: steps: 3 of 3" in capsys.readouterr().out


def test_nothing_is_shown_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    agent().learn(60)
    done = capsys.readouterr()
    assert not done.out and not done.err


@pytest.mark.parametrize("name", ["n_collected", "gradient_steps", "batch_size", "sequence_length"])
def test_fractions_of_counts_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=rf"`{name}` must be an integer, got 4\.5"):
        agent(**{name: 4.5})  # type: ignore[arg-type]


@pytest.mark.parametrize("random_share", [0.0, 1.0])
def test_share_of_random_actions(random_share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first round, plans are taken in the given share; the planner's state has the taken actions."""
    model: Any = agent(random_share=random_share).learn(60)
    planned, state = model.policy.predict(model._last_obs, None, None)
    monkeypatch.setattr(model.policy, "predict", lambda *_: (planned, state))
    actions, scaled = model._sample_action(0)
    assert np.array_equal(actions, planned) == (random_share == 0)
    np.testing.assert_allclose(scaled, actions / 2, rtol=1e-5)
    np.testing.assert_allclose(model._planning_state[0][:, 0], scaled)


def test_plans_are_told_where_episodes_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans and windows of observations then continue only within an episode."""
    model: Any = agent().learn(60)
    predict, starts = model.policy.predict, []

    def recorded(obs: Any, state: Any, episode_start: Any) -> Any:
        starts.append(bool(episode_start[0]))
        return predict(obs, state, episode_start)

    monkeypatch.setattr(model.policy, "predict", recorded)
    horizon = model.env.envs[0].spec.max_episode_steps
    model.learn(2 * horizon, reset_num_timesteps=False)
    assert horizon < len(starts) and 1 <= sum(starts) <= 3
