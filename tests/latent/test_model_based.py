"""The gradient step that E2C and DVBF share, by hand: learning rate, bound of the gradient, random actions."""

from typing import Any

import numpy as np
import pytest
import torch as th

from tests.dvbf.test_dvbf import agent


@pytest.mark.parametrize(("max_grad_norm", "scale"), [(10.0, 1.0), (2.5, 0.5)])
def test_step_by_hand(max_grad_norm: float, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 x + 4 y, whose gradient has the norm 5: as it is within the bound, or shortened to it."""
    model: Any = agent(max_grad_norm=max_grad_norm, learning_rate=lambda progress: 0.2 * progress).learn(60)
    x, y = (th.nn.Parameter(th.zeros(())) for _ in range(2))
    monkeypatch.setattr(model.policy, "parameters", lambda: iter([x, y]))
    model.policy.optimizer = th.optim.SGD([x, y], lr=1.0)
    model._current_progress_remaining = 0.5  # a learning rate of 0.1
    monkeypatch.setattr(model, "_loss", lambda batch: (3 * x + 4 * y, {}))
    before = model._n_updates
    model.train(gradient_steps=2, batch_size=4)
    assert model._n_updates == before + 2
    assert (x.item(), y.item()) == pytest.approx((-2 * 0.1 * 3 * scale, -2 * 0.1 * 4 * scale))


@pytest.mark.parametrize("random_share", [0.0, 1.0])
def test_share_of_random_actions(random_share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first round, plans are taken in their share; what the plan is told is what was done."""
    model: Any = agent(random_share=random_share).learn(60)
    planned, state = model.policy.predict(model._last_obs, None, None)
    monkeypatch.setattr(model.policy, "predict", lambda *_: (planned, state))
    actions, scaled = model._sample_action(0)
    assert np.array_equal(actions, planned) == (random_share == 0)
    np.testing.assert_allclose(scaled, actions / 2, rtol=1e-5)
    np.testing.assert_allclose(model._planning_state[0][:, 0], scaled)


def test_plans_are_told_where_episodes_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that plans and the window of observations go on within an episode."""
    model: Any = agent().learn(60)
    predict, starts = model.policy.predict, []

    def recorded(obs: Any, state: Any, episode_start: Any) -> Any:
        starts.append(bool(episode_start[0]))
        return predict(obs, state, episode_start)

    monkeypatch.setattr(model.policy, "predict", recorded)
    horizon = model.env.envs[0].spec.max_episode_steps
    model.learn(2 * horizon, reset_num_timesteps=False)
    assert horizon < len(starts) and 1 <= sum(starts) <= 3
