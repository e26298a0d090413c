"""A small reproduction of DVBF on the pendulum."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from ardae_rl.runs.run import Run
from experiments.figure import Result
from experiments.state_space import dvbf_pendulum

_SMALL = {"n_updates": 3, "batch_size": 4, "encoder_hidden": 8, "n_matrices": 2}


@pytest.fixture(autouse=True)
def few_trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvbf_pendulum, "SPLIT", {"training": 6, "validation": 3, "test": 5})


def test_controls_cause_what_follows() -> None:
    """Each observation follows from the previous control; with late controls it does not."""
    x, u = dvbf_pendulum.data("test", late=False)
    assert x.shape == (5, 50, 3) and u.shape == (5, 49, 1)
    env = gym.make("Pendulum-v1").unwrapped
    env.reset()
    errors: dict[bool, list[float]] = {False: [], True: []}
    for late in errors:
        x, u = dvbf_pendulum.data("test", late)
        for t in range(49):
            env.state = np.array([np.arctan2(x[0, t, 1], x[0, t, 0]), 8 * x[0, t, 2]])  # type: ignore[attr-defined]
            observation, *_ = env.step(2 * u[0, t].numpy())
            errors[late].append(float(np.abs(observation / [1, 1, 8] - x[0, t + 1].numpy()).max()))
    assert max(errors[False]) < 1e-5 < 0.01 < max(errors[True])


def test_controls_are_those_of_the_source() -> None:
    """An Ornstein-Uhlenbeck process that is at the limits nearly half of the time."""
    _, u = dvbf_pendulum.trajectories(60, 7)
    assert float((u.abs() == 1).float().mean()) == pytest.approx(0.47, abs=0.06)
    assert float((u[:, :-1] * u[:, 1:]).mean()) > 0.5 * float(u.square().mean())


def test_the_figure_in_small(tmp_path: Path) -> None:
    results = []
    for settings in dvbf_pendulum.runs("quick", 1):
        at = Run(tmp_path / settings["name"])
        rows = [{name: str(value) for name, value in row.items()} for row in dvbf_pendulum.run(settings | _SMALL, at)]
        results.append(Result(settings, at.folder, rows))
    rows = [row for result in results for row in result.rows]
    assert len({result.folder for result in results}) == len(rows) == len(dvbf_pendulum.METHODS)
    assert all(0 < float(row["mad"]) < 3 and np.isfinite(float(row["elbo"])) for row in rows)
    dvbf_pendulum.draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert [row["method"] for row in dvbf_pendulum.summary(rows)] == list(dvbf_pendulum.METHODS)


def test_interrupted_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dvbf_pendulum.runs("quick", 1)[3] | _SMALL | {"n_updates": 6}
    whole = dvbf_pendulum.run(settings, Run(tmp_path / "whole"))
    steps = Run.steps

    def cut(self: Run, n: int, parts: object) -> object:
        for step in steps(self, n, parts, every=2):  # type: ignore[arg-type]
            if step == 3:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(Run, "steps", cut)
    with pytest.raises(KeyboardInterrupt):
        dvbf_pendulum.run(settings, Run(tmp_path / "cut"))
    monkeypatch.setattr(Run, "steps", lambda self, n, parts: steps(self, n, parts, every=2))
    th.manual_seed(9)
    assert dvbf_pendulum.run(settings, Run(tmp_path / "cut")) == whole
