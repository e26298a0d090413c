"""Training in mazes: exploration, segments that resume with the same numbers, sampled episodes."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.noise import NormalActionNoise

from ardae_rl.grid import checkpoint
from ardae_rl.runs.run import Run
from experiments.mazes import segments as segments_module
from experiments.mazes import training
from experiments.mazes.segments import finished_rows, segments


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = th.get_num_threads()
    yield
    th.set_num_threads(n_threads)


def small_model(method: str, **arguments: Any) -> Any:
    envs = training.make_envs("simple", "sparse")
    sizes: dict[str, Any] = {"batch_size": 8, "gradient_steps": 1, "policy_kwargs": {"net_arch": [16]}}
    return training.new_model(training.METHODS[method], envs, 0.1, seed=0, **sizes | arguments)


def test_held_actions_fill_the_buffer_and_reach_goals() -> None:
    model = small_model("sac")
    training.fill_buffer(model, 4001, seed=0)
    buffer = model.replay_buffer
    assert model.num_timesteps == 4008 == buffer.size() * training.N_ENVS
    filled = {name: getattr(buffer, name)[: buffer.size()] for name in ("actions", "rewards", "dones", "observations")}
    # Each success is the end of an episode, and ends without success are truncations
    assert set(np.unique(filled["rewards"])) == {0.0, 100.0}
    np.testing.assert_array_equal(filled["rewards"] > 0, (filled["dones"] > 0) & (buffer.timeouts[:501] == 0))
    held = (filled["actions"][1:] == filled["actions"][:-1]).all(-1).mean()
    assert 0.95 < held < 0.99, "actions are held for 10 to 100 steps"
    np.testing.assert_array_equal(filled["observations"][0], 0)


def test_temperature_is_the_methods_own() -> None:
    assert small_model("sac").target_entropy == 0.1
    noise = small_model("td3").action_noise
    assert np.std([noise() for _ in range(2000)]) == pytest.approx(0.1, rel=0.1)
    assert small_model("sac_ardae-distance").target_entropy == pytest.approx(np.log(0.1 * np.sqrt(2)))


def train_in_segments(folder: Path, stop_after: int | None = None) -> list[str]:
    """Train for 16 random and 48 other steps, and return a text about each segment. The last one is half as long."""

    def new() -> Any:
        model = small_model("sac")
        training.fill_buffer(model, 16, seed=0)
        return model

    envs = training.make_envs("simple", "sparse")
    for count, segment in enumerate(segments(Run(folder), "sac", new, envs, 72, 16, seed=0, explore=0.5)):
        weights = th.cat([p.detach().flatten() for p in segment.model.policy.parameters()])
        row = {"step": segment.model.num_timesteps, "sum": float(weights.sum()), "cpu_seconds": 0.0}
        segment.rows.append(row)
        if count == stop_after:
            return []
    return [f"{row['step']} {row['sum']!r}" for row in finished_rows(folder)]


@pytest.mark.filterwarnings("error:`n_steps")
def test_an_interrupted_training_ends_with_the_same_numbers(tmp_path: Path) -> None:
    whole = train_in_segments(tmp_path / "whole")
    train_in_segments(tmp_path / "part", stop_after=1)
    assert train_in_segments(tmp_path / "part") == whole
    assert [text.split()[0] for text in whole] == ["32", "48", "64", "72"]
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == ["model.zip", "rows.json"]


class KilledError(Exception):
    pass


def kill(*_: Any) -> None:
    raise KilledError


@pytest.mark.parametrize("when", ["before its rows are written", "before its checkpoints are deleted"])
def test_a_training_that_is_killed_at_its_end_is_not_lost(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_in_segments(tmp_path / "whole")
    if "rows" in when:
        monkeypatch.setattr(segments_module, "write_json", kill)
    else:
        monkeypatch.setattr(segments_module, "checkpoint", SimpleNamespace(**vars(checkpoint) | {"delete": kill}))
    with pytest.raises(KilledError):
        train_in_segments(tmp_path / "cut")
    assert len(checkpoint.checkpoints(tmp_path / "cut")) == 1
    monkeypatch.undo()
    monkeypatch.setattr(segments_module, "start_segment", kill)  # nothing is trained again
    assert train_in_segments(tmp_path / "cut") == whole
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["model.zip", "rows.json"]


def test_the_last_segment_may_be_shorter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its random steps are the same share of it."""
    targets: list[int] = []

    def fill_buffer(model: Any, n_steps: int, seed: int) -> None:
        targets.append(n_steps)
        training.fill_buffer(model, n_steps, seed)

    monkeypatch.setattr(segments_module, "fill_buffer", fill_buffer)
    train_in_segments(tmp_path)
    assert targets == [24, 40, 56, 68]


def test_n_step_returns_end_with_a_segment(tmp_path: Path) -> None:
    """Rows 1, 3 and 5 of the buffer are the last ones before the environments are reset."""
    model = small_model("sac")
    training.fill_buffer(model, 16, seed=0)
    for segment in segments(Run(tmp_path), "sac", lambda: model, model.get_env(), 64, 16, seed=0):
        segment.rows.append({"cpu_seconds": 0.0})
    buffer: Any = segment.model.replay_buffer
    assert buffer.size() == 8 and not buffer.dones[:8].any()
    assert np.flatnonzero(buffer.timeouts.all(axis=1)).tolist() == [1, 3, 5]


class TowardsGoals:
    """Flies straight to one of the four corners, drawn for each episode; the first lowers the last coordinate."""

    action_noise = None

    def __init__(self) -> None:
        self.directions = np.array([[-1, 1], [1, 1], [-1, -1], [1, -1]], np.float32)

    def set_random_seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.chosen: np.ndarray = np.array([])

    def predict(self, obs: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
        assert not deterministic
        if not obs.any():
            self.chosen = self.rng.integers(4, size=len(obs))
        directions = np.sign(obs[:, :2])
        return np.where(obs[:, :2] == 0, self.directions[self.chosen[: len(obs)]], directions), None


def test_sampled_episodes() -> None:
    model: Any = TowardsGoals()
    episodes = training.play(model, "simple", 120, seed=0)
    assert episodes.goals.shape == episodes.steps.shape == (120,) and len(episodes.paths) == 120
    assert set(episodes.goals.tolist()) == {0, 1, 2, 3}
    assert episodes.steps.max() < 110 and [len(path) for path in episodes.paths] == (episodes.steps + 1).tolist()
    np.testing.assert_array_equal(episodes.paths[0][0], [0, 0])
    # The diagonals are closed by obstacles, and only one goal counts
    assert (training.play(model, "simple", 8, seed=0, obstacles=True).goals == -1).all()
    one = training.play(model, "simple", 40, seed=0, goals=[2])
    assert set(one.goals.tolist()) == {-1, 2}
    assert (training.play(model, "simple", 8, seed=0, max_steps=20).steps == 20).all()


def test_a_deterministic_policy_is_sampled_with_its_exploration_noise() -> None:
    """The noise of its training, clipped to the action bounds; each episode has its own."""
    model = small_model("td3", learning_starts=0)
    model.learn(8)  # the noise is that of the eight environments from now on
    for parameter in model.actor.parameters():
        parameter.data.zero_()  # the action 0 everywhere
    actions: list[np.ndarray] = []

    class Recorder:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.n_steps = 0

        def reset(self, options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            self.n_steps = 0
            return np.zeros(4, np.float32), {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            actions.append(action)
            self.n_steps += 1
            return np.zeros(4, np.float32), 0.0, self.n_steps == 20, False, {"goal": -1}

    def played(noise: float) -> np.ndarray:
        model.action_noise = NormalActionNoise(np.zeros(2), np.full(2, noise))
        actions.clear()
        training._play(model, [Recorder() for _ in range(50)], {})  # type: ignore[misc]
        return np.array(actions)

    np.random.seed(0)
    small = played(0.1)
    assert small.std() == pytest.approx(0.1, rel=0.05) and len(np.unique(small[:, 0])) == 1000
    large = played(10.0)
    assert np.abs(large).max() == 1 and (np.abs(large) == 1).mean() > 0.9
    assert training.play(small_model("sac"), "simple", 2, seed=0, max_steps=3).steps.tolist() == [3, 3]


def test_entropy_of_the_first_action() -> None:
    """The entropy of the policy at the start, by the definition of SAC's squashed Gaussian."""
    model = small_model("sac")
    th.manual_seed(0)
    entropy = training.first_action_entropy(model, "simple")
    mean, log_std, _ = model.actor.get_action_dist_params(th.zeros(1, 4))
    pre_tanh = mean + log_std.exp() * th.randn(200_000, 2)
    log_jacobian = th.log1p(-pre_tanh.tanh().square()).sum(-1).mean()
    expected = (0.5 * np.log(2 * np.pi * np.e) + log_std).sum() + log_jacobian
    assert entropy == pytest.approx(float(expected.detach()), abs=0.05)
    for method in ("sac_nf", "sac_ardae"):
        assert np.isfinite(training.first_action_entropy(small_model(method), "simple"))
    for method in ("td3", "sac_ardae-distance"):
        assert np.isnan(training.first_action_entropy(small_model(method), "simple"))
