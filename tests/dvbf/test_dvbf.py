"""DVBF through its SB3 interface, at tiny sizes, with every posterior."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure

from ardae_rl.dvbf import DVBF
from ardae_rl.dvbf.policies import POSTERIORS, TRANSITIONS, DVBFPolicy
from tests.latent.toy import Walk

SMALL: dict[str, Any] = {
    "z_dim": 3,
    "n_matrices": 2,
    "encoder_hidden": 8,
    "emission_hidden": (8,),
    "horizon": 3,
    "planner_kwargs": {"n_samples": 8, "n_iterations": 1, "n_elites": 2},
    "n_draws": 2,
}


def agent(env: Any = None, policy: str = "MlpPolicy", **arguments: Any) -> DVBF:
    defaults: dict[str, Any] = {"n_collected": 60, "gradient_steps": 3, "batch_size": 4, "sequence_length": 4}
    policy_kwargs = SMALL | arguments.pop("policy_kwargs", {})
    env = make_vec_env("Pendulum-v1", 1, seed=0) if env is None else env
    return DVBF(policy, env, seed=0, device="cpu", policy_kwargs=policy_kwargs, **(defaults | arguments))


def sequences(n: int = 3, length: int = 5) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(0)
    return th.randn(n, length + 1, 3, generator=generator), th.rand(n, length, 1, generator=generator) * 2 - 1


@pytest.mark.parametrize("smoothing", [True, False])
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("transition", TRANSITIONS)
def test_learn_and_act(posterior: str, transition: str, smoothing: bool) -> None:
    """A round of random actions and one of plans; then the bound, reconstructions and generated sequences."""
    model = agent(policy_kwargs={"posterior": posterior, "transition": transition, "smoothing": smoothing})
    model.learn(120)
    assert model.num_timesteps == 120 and model._n_updates == 6
    env = gym.make("Pendulum-v1", max_episode_steps=10)
    returns, _ = evaluate_policy(model, env, 1, warn=False)
    assert np.isfinite(returns)
    x, u = sequences()
    assert all(term.shape == (3,) and bool(term.isfinite().all()) for term in model.elbo(x, u))
    assert model.reconstruct(x, u).shape == x.shape
    th.manual_seed(0)
    made = model.generate(x[:, :1], u)
    assert made.shape == x.shape
    again = model.generate(x[:, :1], u)
    assert not th.allclose(made, again), "the first state at least is drawn"


def test_images() -> None:
    """Images alone are accepted, with pixels in [0, 1]; dictionaries with goals are refused."""
    model = agent(make_vec_env(Walk, 1, env_kwargs={"with_goal": False}, seed=0), "CnnPolicy", sequence_length=3)
    model.learn(60)
    frames, actions = th.randint(0, 255, (2, 4, 1, 8, 8), dtype=th.uint8), th.zeros(2, 3, 1)
    made = model.reconstruct(frames, actions)
    assert made.shape == (2, 4, 64) and bool(((made >= 0) & (made <= 1)).all())


class TwoChannels(Walk):
    """The image, and the image upside down."""

    def __init__(self) -> None:
        super().__init__(with_goal=False)
        self.observation_space = gym.spaces.Box(0, 255, (8, 8, 2), np.uint8)

    def _observation(self) -> Any:
        image = super()._observation()
        return np.concatenate([image, image[::-1]], -1)


def test_images_as_the_environment_returns_them() -> None:
    """Channels last or first give the same result; other shapes are refused."""
    model = agent(make_vec_env(TwoChannels, 1, seed=0), "CnnPolicy", sequence_length=3)
    env = TwoChannels()
    env.reset(seed=0)
    frames = np.stack([env.step(np.array([action], np.float32))[0] for action in (0.5, -0.3, 0.2, 0.9)])
    last, actions = th.as_tensor(frames)[None], th.zeros(1, 3, 1)
    first = last.movedim(-1, -3)
    assert last.shape == (1, 4, 8, 8, 2)
    for function in (model.elbo, model.reconstruct, model.generate):
        results = []
        for observations in (last, first):
            th.manual_seed(0)
            results.append(function(observations, actions))
        th.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"`observations` must have shape \(batch, steps, 2, 8, 8\), got \("):
        model.reconstruct(last[..., :1], actions)


def test_images_are_divided_by_their_maximum() -> None:
    model = agent(make_vec_env(TwoChannels, 1, seed=0), "CnnPolicy", sequence_length=3)
    frames = th.full((2, 3, 2, 8, 8), 255, dtype=th.uint8)
    th.testing.assert_close(model.policy.preprocess(frames, 2), th.ones(2, 3, 128))


def test_vectors_are_standardized() -> None:
    model = agent()
    model.learn(60)
    assert model.replay_buffer is not None
    seen = model.policy.preprocess(th.as_tensor(model.replay_buffer.observations[:60, 0]), 1)
    assert float(seen.mean(0).abs().max()) < 0.5 and bool(((seen.std(0) > 0.5) & (seen.std(0) < 2)).all())
    x, _ = sequences()
    th.testing.assert_close(model.policy.postprocess(model.policy.preprocess(x, 2)), x)


def test_memory_of_the_policy() -> None:
    """The state is inferred from the last observations and the actions between them, within an episode."""
    model = agent(policy_kwargs={"window": 3, "n_draws": 200})
    policy = model.policy
    seen = [np.array([[0.1 * t, 0.2, -0.3 * t]], np.float32) for t in range(5)]
    state: Any = None
    actions: list[np.ndarray] = []
    for observation in seen:
        action, state = model.predict(observation, state, np.array([state is None]))
        actions.append(policy.scale_action(action))
    x, u, count = (th.as_tensor(part) for part in state[1:])
    assert count.tolist() == [3]
    th.testing.assert_close(x[0], policy.preprocess(th.as_tensor(np.concatenate(seen[2:])), 1))
    # The state holds the action that was planned at each of them but the last
    np.testing.assert_allclose(u[0, 1:], np.concatenate(actions[2:4]), atol=1e-6)
    _, episode_starts = model.predict(seen[0], state, np.array([True]))
    assert episode_starts is not None and episode_starts[3].tolist() == [1]
    fresh, _ = model.predict(seen[0])
    np.testing.assert_array_equal(fresh, model.predict(seen[0], state, np.array([True]))[0])


def test_rows_do_not_depend_on_each_other() -> None:
    """Equal observations have equal actions, whatever else is in the batch and however old the other episodes are."""
    smooth = {"n_draws": 8, "action_weight": 3.0, "planner": "ilqr", "planner_kwargs": {}}
    model = agent(policy_kwargs=smooth, gradient_steps=100).learn(60)
    rng = np.random.default_rng(0)
    steps = rng.uniform(-1, 1, (4, 3)).astype(np.float32)
    alone, state = [], None
    for step, observation in enumerate(steps):
        action, state = model.predict(observation[None], state, np.array([step == 0]))
        alone.append(action[0])
    state = None
    for step, observation in enumerate(steps):  # the episode of the second row begins anew at the third step
        batch = np.stack([observation, steps[step % 2], observation])
        actions, state = model.predict(batch, state, np.array([step == 0, step in (0, 2), step == 0]))
        expected = [alone[step], alone[step % 2], alone[step]]
        np.testing.assert_allclose(actions, expected, atol=1e-3)  # rounding, which the planner amplifies


def test_what_was_done_is_remembered() -> None:
    """If a random action replaces the planned one, the policy's memory has the random one."""
    model = agent(random_share=1.0)
    model.learn(120)
    assert model._planning_state is not None and model.replay_buffer is not None
    plans, _, actions, _ = model._planning_state
    done = model.replay_buffer.actions[:120, 0]
    np.testing.assert_allclose(plans[0, 0], done[-1], atol=1e-6)
    np.testing.assert_allclose(actions[0, 1:], done[-5:-1], atol=1e-6)


@pytest.mark.parametrize("anneal", ["dvbf", "kl", "none"])
def test_annealing(anneal: str, tmp_path: Path) -> None:
    """The logged bound is never annealed, and after the annealing all three objectives are equal."""
    model = agent(anneal=anneal, anneal_steps=10, reward_weight=0.0)
    model.set_logger(configure(str(tmp_path), ["json"]))
    model.learn(60)
    line = json.loads((tmp_path / "progress.json").read_text().splitlines()[-1])
    assert line["train/elbo"] == pytest.approx(line["train/reconstruction"] - line["train/kl"], rel=1e-4)
    later = agent(anneal=anneal, anneal_steps=10, reward_weight=0.0)
    later._n_updates = 10
    x, u = sequences(4, 4)
    batch: Any = type("Batch", (), {"observations": x, "actions": u, "rewards": th.zeros(4, 4)})
    th.manual_seed(1)
    loss, parts = later._loss(batch)
    th.testing.assert_close(loss, -parts["elbo"] / 5)


def test_save_load_and_go_on(tmp_path: Path) -> None:
    model = agent().learn(60)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = DVBF.load(tmp_path / "model", env=model.get_env(), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer")
    for one in (model, loaded):
        one.set_logger(configure(None, []))
        th.manual_seed(1)
        one.train(3, 4)
    for a, b in zip(model.policy.state_dict().values(), loaded.policy.state_dict().values(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"anneal": "cold"}, "`anneal` must be one of 'dvbf', 'kl', 'none', got 'cold'"),
        ({"anneal_steps": -1}, "`anneal_steps` must be >= 0, got -1"),
        ({"reward_weight": -1}, "`reward_weight` must be >= 0, got -1"),
        ({"policy_kwargs": {"action_weight": -3}}, "`action_weight` must be >= 0, got -3"),
        ({"policy_kwargs": {"window": 0}}, "`window` must be >= 1, got 0"),
        ({"policy_kwargs": {"posterior": "iaf"}}, "`posterior` must be one of 'noise', 'initial_state',"),
        (
            {"policy_kwargs": {"transition": "linear"}},
            "`transition` must be one of 'locally_linear', 'neural'",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(**arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("window", {"window": 2.5}),
        ("z_dim", {"z_dim": 2.5}),
        ("z_dim", {"z_dim": 2.5, "transition": "neural"}),
        ("n_matrices", {"n_matrices": 2.5}),
        ("hidden", {"encoder_hidden": 2.5}),
        ("n_flows", {"n_flows": 2.5, "posterior": "trajectory_iaf"}),
        ("n_flows", {"n_flows": 2.5, "posterior": "step_iaf"}),
    ],
)
def test_fractions_of_sizes_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"`{name}` must be an integer, got 2\.5"):
        agent(policy_kwargs=arguments)


def test_dictionaries_are_refused() -> None:
    with pytest.raises(ValueError, match="`observation_space` must be a Box of vectors or images"):
        DVBFPolicy(Walk().observation_space, Walk().action_space, lambda _: 1e-3)


def test_layers_of_the_reward() -> None:
    model = agent()
    layers: Any = model.policy.reward
    widths = [layer.out_features for layer in layers if isinstance(layer, th.nn.Linear)]
    assert widths == [128, 128, 1] and layers[0].in_features == 3 + 1
