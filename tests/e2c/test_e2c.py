"""E2C through its SB3 interface, at tiny sizes, and plans for a known model."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecTransposeImage

import ardae_envs  # noqa: F401
from ardae_rl.e2c import E2C, E2CPolicy
from ardae_rl.planning.goal import GoalProblem
from tests.latent.toy import Walk

SMALL: dict[str, Any] = {"hidden": (16,), "transition_hidden": (8,), "horizon": 3}


def agent(env: Any = None, policy: str = "MultiInputPolicy", **arguments: Any) -> E2C:
    defaults: dict[str, Any] = {"n_collected": 30, "gradient_steps": 5, "batch_size": 8, "sequence_length": 2}
    policy_kwargs = SMALL | arguments.pop("policy_kwargs", {})
    env = gym.make("ardae/PlanarObstacles-v0", start="anywhere") if env is None else env
    return E2C(policy, env, seed=0, device="cpu", policy_kwargs=policy_kwargs, **(defaults | arguments))


def first_observation(of: E2C) -> Any:
    env = of.get_env()
    assert env is not None
    return env.reset()


def parameters(of: E2C) -> list[th.Tensor]:
    return [value.clone() for value in of.policy.state_dict().values()]


def test_learn_and_act() -> None:
    """Two rounds, of random actions and of plans: all networks change, and the model acts in the environment."""
    model = agent()
    before = parameters(model)
    model.learn(60)
    assert model.num_timesteps == 60 and model._n_updates == 10
    assert sum(not th.equal(a, b) for a, b in zip(before, parameters(model), strict=True)) >= len(before) - 1
    env = gym.make("ardae/PlanarObstacles-v0")
    returns, lengths = evaluate_policy(model, env, 2, return_episode_rewards=True, warn=False)
    assert lengths == [40, 40] and np.isfinite(returns).all()


@pytest.mark.parametrize("matrix", ["rank_one", "full"])
@pytest.mark.parametrize("planner", ["ilqr", "cem", "mppi"])
def test_planners(planner: str, matrix: str) -> None:
    kwargs: dict[str, Any] = {"planner": planner, "matrix": matrix, "planner_kwargs": {"n_iterations": 1}}
    model = agent(policy_kwargs=kwargs)
    observation = first_observation(model)
    actions, state = model.predict(observation)
    assert actions.shape == (1, 2) and state is not None and state[0].shape == (1, 3, 2)
    again, _ = model.predict(observation)
    np.testing.assert_array_equal(actions, again)


def test_state() -> None:
    """Planning continues from the remainder of the last plan, unless an episode starts."""
    model = agent(policy_kwargs={"planner": "ilqr", "planner_kwargs": {"n_iterations": 1, "n_restarts": 0}})
    observation = first_observation(model)
    plan = np.full((1, 3, 2), 0.5, np.float32)
    fresh, _ = model.predict(observation)
    started, _ = model.predict(observation, (plan,), np.array([True]))
    np.testing.assert_array_equal(started, fresh)
    gone_on, _ = model.predict(observation, (plan,), np.array([False]))
    assert not np.array_equal(gone_on, fresh)


def test_states_are_means_of_the_encoder() -> None:
    model = agent()
    images = th.randint(0, 256, (2, 3, 1, 40, 40), dtype=th.uint8)
    (image, goal), policy, starts = images, model.policy, th.ones(3, dtype=th.bool)
    means = [policy.encoder(part / 255)[0] for part in (image, goal)]
    state, _ = policy.infer_state({"observation": image, "desired_goal": goal}, (), None, starts)
    th.testing.assert_close(state, GoalProblem.state(*means))
    th.testing.assert_close(policy.infer_state(image, (), None, starts)[0], means[0])


def test_it_goes_where_the_model_says() -> None:
    """With a hand-made model whose latent is the position, the agent reaches the goal's image."""
    model = agent(env=Walk(), policy_kwargs={"z_dim": 1, "horizon": 5})
    policy = model.policy

    class Position(th.nn.Module):
        def forward(self, images: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
            z = images[:, 0, 0, :1] * 255 / 10
            return z, th.full_like(z, -5)

    policy.encoder = Position()  # type: ignore[assignment]
    last = policy.transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    last.weight.data.zero_()
    last.bias.data = th.tensor([0.0, 0.0, 1.0, 0.0])  # v, r, B, o

    def image(position: int) -> Any:
        frame = np.zeros((1, 1, 8, 8), np.uint8)
        frame[0, 0, 0, 0] = position
        return frame

    position, state = 120, None
    for _ in range(8):
        action, state = model.predict({"observation": image(position), "desired_goal": image(80)}, state)
        position += round(10 * float(action[0, 0]))
    assert abs(position - 80) <= 1


@pytest.mark.parametrize("with_goal", [True, False])
def test_save_load_and_go_on(with_goal: bool, tmp_path: Path) -> None:
    """The results equal those of an uninterrupted training, also for single images and a learned reward."""

    def make() -> E2C:
        small: dict[str, Any] = {"n_collected": 20, "gradient_steps": 3, "batch_size": 4, "policy_kwargs": SMALL}
        env = make_vec_env(Walk, 1, env_kwargs={"with_goal": with_goal}, seed=0)
        return E2C("MultiInputPolicy" if with_goal else "CnnPolicy", env, seed=0, device="cpu", **small)

    model = make().learn(20)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = E2C.load(tmp_path / "model", env=make().get_env(), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer")
    for a, b in zip(parameters(model), parameters(loaded), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)
    for one in (model, loaded):
        one.set_logger(configure(None, []))
        th.manual_seed(1)
        one.train(3, 4)
    for a, b in zip(parameters(model), parameters(loaded), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 40


def test_distances_are_in_units_of_the_latents() -> None:
    """A rescaled latent map has the same costs; stretching one axis increases its weight."""
    model = agent(policy_kwargs={"goal_weight": 3.0, "action_weight": 0.0})
    model.learn(30)
    policy = model.policy
    buffer = model.replay_buffer
    assert isinstance(buffer, DictReplayBuffer)
    mean, _ = policy.encoder(th.as_tensor(buffer.observations["observation"][:30, 0]) / 255)
    assert float(policy.latent_scale) == pytest.approx(float(mean.var(0).mean().sqrt()), rel=0.1)
    policy.latent_scale.fill_(2.0)
    z, goal = th.zeros(2, 2), th.tensor([[2.0, 0.0], [0.0, 0.5]])
    costs = policy.problem().final_cost(th.cat([z, goal], 1))
    th.testing.assert_close(costs, th.tensor([3.0, 3.0 / 16]))


def test_log(tmp_path: Path) -> None:
    """The log has the terms of the loss, and the number of active latents."""
    model = agent(loss_kwargs={"consistency_weight": 1.0, "curvature_weight": 1.0})
    model.set_logger(configure(str(tmp_path), ["json"]))
    model.learn(30)
    line = json.loads((tmp_path / "progress.json").read_text().splitlines()[-1])
    parts = ["kl_prior", "kl_transition", "prediction", "reconstruction", "reward_error", "consistency", "curvature"]
    assert all(np.isfinite(line[f"train/{name}"]) for name in [*parts, "active_latents"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss_kwargs": {"transition_sample": "x"}}, "`transition_sample` must be one of 'same', 'resample', got 'x'"),
        ({"loss_kwargs": {"transition_sample": "resample"}}, r"`sequence_length` must be 1 with .*, got 2"),
        ({"random_share": 2}, "`random_share` must be between 0 and 1, got 2"),
        ({"loss_kwargs": {"prior_weight": -1}}, "`prior_weight` must be >= 0, got -1"),
        ({"loss_kwargs": {"weight": 1}}, "`loss_kwargs` must only have the keys 'prior_weight', .*, got 'weight'"),
        ({"gradient_steps": 0}, "`gradient_steps` must be >= 1, got 0"),
        ({"policy_kwargs": {"goal_weight": -1}}, "`goal_weight` must be >= 0, got -1"),
        ({"policy_kwargs": {"action_weight": -1}}, "`action_weight` must be >= 0, got -1"),
        ({"policy_kwargs": {"initial_std": 10.0}}, r"`initial_std` must be between 0\.00247875 and 7\.38906, got 10"),
        ({"policy_kwargs": {"planner": "random"}}, "`planner` must be one of 'ilqr', 'cem', 'mppi', got 'random'"),
        ({"env": gym.make("Pendulum-v1")}, "must consist of uint8 images"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(**arguments)


def test_channels_last_are_refused() -> None:
    """SB3 transposes images; a policy made directly would mistake rows for channels."""
    env = make_vec_env(Walk, 1)
    with pytest.raises(ValueError, match=r"must consist of uint8 images \(channels, height, width\)"):
        E2CPolicy(env.observation_space, env.action_space, lambda _: 1e-3)
    first = VecTransposeImage(env)
    assert E2CPolicy(first.observation_space, env.action_space, lambda _: 1e-3).by_goal


def test_costs_without_a_goal() -> None:
    """Squared actions, less the predicted reward."""
    model = agent(env=Walk(with_goal=False), policy="CnnPolicy", policy_kwargs={"z_dim": 3, "action_weight": 0.3})
    policy, z, u = model.policy, th.randn(5, 3), th.randn(5, 1)
    expected = 0.3 * u.square().sum(1) - policy.reward(th.cat([z, u], 1))[:, 0]
    th.testing.assert_close(policy.problem().cost(z, u), expected)


def test_a_policy_alone(tmp_path: Path) -> None:
    """It plans as before, and its optimizer changes nothing until an algorithm sets a learning rate."""
    model = agent(env=Walk())
    model.policy.save(str(tmp_path / "policy"))
    loaded = type(model.policy).load(str(tmp_path / "policy"), device="cpu")
    assert loaded.optimizer.param_groups[0]["lr"] == 0
    observation = first_observation(model)
    np.testing.assert_array_equal(loaded.predict(observation)[0], model.policy.predict(observation)[0])
