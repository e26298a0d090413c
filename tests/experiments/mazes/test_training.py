"""Training in mazes: exploration, segments that resume with the same numbers, sampled episodes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from ardae_rl.runs.run import Run
from experiments.mazes import training
from experiments.mazes.segments import segments


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


def test_an_interrupted_training_ends_with_the_same_numbers(tmp_path: Path) -> None:
    def new() -> Any:
        model = small_model("sac")
        training.fill_buffer(model, 16, seed=0)
        return model

    def train(folder: Path, stop_after: int | None = None) -> list[str]:
        rows: list[dict[str, Any]] = []
        envs = training.make_envs("simple", "sparse")
        for count, segment in enumerate(segments(Run(folder), "sac", new, envs, 64, 16, seed=0, explore=8)):
            rows = segment.rows
            weights = th.cat([p.detach().flatten() for p in segment.model.policy.parameters()])
            rows.append({"step": segment.model.num_timesteps, "sum": float(weights.sum()), "cpu_seconds": 0.0})
            if count == stop_after:
                break
        return [f"{row['step']} {row['sum']!r}" for row in rows]

    whole = train(tmp_path / "whole")
    assert len(train(tmp_path / "part", stop_after=1)) == 2
    assert train(tmp_path / "part") == whole and len(whole) == 3
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == ["model.zip"]


class TowardsGoals:
    """Flies straight to one of the four corners, drawn for each episode; the first lowers the last coordinate."""

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
