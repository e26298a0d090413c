"""AIRL, GAIL and GAN-GCL at tiny sizes, as users of SB3 call them, with generators of all kinds."""

import math
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, LogEveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her import HerReplayBuffer

from ardae_rl.irl import AIRL, GAIL, GANGCL, ShapedRewardNet, Trajectory, collect_demonstrations, save_trajectories
from ardae_rl.irl.adversarial import AdversarialIRL
from ardae_rl.irl.transitions import Transitions, concatenate
from tests.irl.counting import Counting
from tests.irl.test_trajectories import Always

METHODS: tuple[type[Any], ...] = (AIRL, GAIL, GANGCL)
OFF_POLICY: dict[str, dict[str, Any]] = {
    name: {"learning_starts": 10, "batch_size": 8, "buffer_size": 500} for name in ("sac", "sac_nf", "tqc", "crossq")
}
OFF_POLICY["sac_ardae"] = OFF_POLICY["sac"] | {"score_batch_size": 4, "n_action_samples": 4, "score_warmup": 2}
ON_POLICY: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 20, "batch_size": 10, "n_epochs": 1},
    "a2c": {"n_steps": 20},
}
GENERATORS = OFF_POLICY | ON_POLICY
SMALL = {"disc_interval": 20, "n_disc_updates": 2, "reward_kwargs": {"hidden": (8,)}, "seed": 0, "device": "cpu"}


def demonstrations(n: int = 3, **arguments: Any) -> list[Trajectory]:
    action: Any = np.array(1) if arguments.get("discrete") else np.array([1.0], np.float32)
    model: Any = Always(action)
    return collect_demonstrations(model, make_vec_env(lambda: Counting(**arguments)), n)


def make(method: type[Any], generator: str = "sac", env: Any = None, demos: Any = None, **arguments: Any) -> Any:
    if env is None:
        env, demos = Counting(), demonstrations()
    policy = "MultiInputPolicy" if isinstance(env.observation_space, gym.spaces.Dict) else "MlpPolicy"
    kwargs = GENERATORS.get(generator, {}) | arguments.pop("generator_kwargs", {})
    net_arch = {"policy_kwargs": {"net_arch": [8, 8]}}
    return method(policy, env, demos, generator, kwargs, **(SMALL | net_arch | arguments))


def state_of(*parts: Any) -> list[th.Tensor]:
    """Return copies of the parameters of networks; for a model, of its reward network and its policy."""
    modules = [module for part in parts for module in _modules(part)]
    return [parameter.detach().clone() for module in modules for parameter in module.parameters()]


def _modules(part: Any) -> list[th.nn.Module]:
    return [part.reward_net, part.generator.policy] if isinstance(part, AdversarialIRL) else [part]


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_learn_and_predict(method: type[Any], generator: str) -> None:
    """Both networks change; sampled batches have the rewards of the current network."""
    model = make(method, generator)
    networks = model.reward_net, model.generator.policy
    before = [state_of(network) for network in networks]
    model.learn(60)
    assert model.num_timesteps == 60
    for network, then in zip(networks, before, strict=True):
        assert not all(th.equal(a, b) for a, b in zip(then, state_of(network), strict=True))
    action, _ = model.predict(np.zeros(2, np.float32), deterministic=True)
    assert action.shape == (1,)
    if generator in OFF_POLICY:
        batch = model.generator.replay_buffer.sample(20)
        drawn = Transitions(batch.observations, 2 * batch.actions, batch.next_observations, batch.dones.flatten())
        th.testing.assert_close(batch.rewards.flatten(), model.reward(drawn))


@pytest.mark.parametrize("method", METHODS)
def test_rollouts_have_the_newest_rewards(method: type[Any]) -> None:
    """PPO trains on the rollout as if it had been collected with the updated reward."""
    model = make(method, "ppo", generator_kwargs={"learning_rate": 0.0})

    class Compare(BaseCallback):
        turns = 0

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = model.generator.rollout_buffer
            fresh = [model.reward(transitions).numpy() for transitions, _ in model._rollout]
            at_ends = [t for t in range(20) if (model.generator.num_timesteps - 20 + t + 1) % 5 == 0]
            inside = [t for t in range(20) if t not in at_ends]  # at truncations, SB3 adds the value of the next state
            np.testing.assert_allclose(buffer.rewards[inside], np.stack(fresh)[inside], atol=1e-5)
            assert not np.allclose([before for _, before in model._rollout], fresh, atol=1e-6)
            returns = buffer.advantages + buffer.values
            np.testing.assert_allclose(buffer.returns, returns, atol=1e-5)
            last = buffer.rewards[-1] - buffer.values[-1]  # an episode's last step: no value beyond it
            np.testing.assert_allclose(buffer.advantages[-1], last, atol=1e-4)
            self.turns += 1

    compare = Compare()
    model.learn(60, callback=compare)
    assert compare.turns == 3


@pytest.mark.parametrize("form", ["discrete", "dictionary", "variable horizon", "two environments"])
@pytest.mark.parametrize("method", METHODS)
def test_environments(method: type[Any], form: str) -> None:
    arguments = {"discrete": {"discrete": True}, "dictionary": {"as_dict": True}, "variable horizon": {"ends": True}}
    chosen: dict[str, Any] = arguments.get(form, {})
    env: Any = make_vec_env(lambda: Counting(), 2) if form == "two environments" else Counting(**chosen)
    # Demonstrations truncated after five steps as well as terminated after three
    demos = demonstrations(2, **chosen) + (demonstrations(1) if form == "variable horizon" else [])
    model = make(method, "ppo" if form == "discrete" else "sac", env, demos)
    model.learn(60)
    assert np.isfinite([float(value.sum()) for value in state_of(model)]).all()
    assert float(np.mean(evaluate_policy(model, Counting(**chosen), 1, warn=False)[0])) > 0


@pytest.mark.parametrize("generator", ["sac", "sac_ardae", "ppo"])
@pytest.mark.parametrize("method", METHODS)
def test_save_load_continue(method: type[Any], generator: str, tmp_path: Path) -> None:
    """Rewards and actions are identical after loading, and training continues."""
    model = make(method, generator)
    model.learn(60)
    model.save(tmp_path / "model")
    loaded = method.load(tmp_path / "model", env=Counting(), demonstrations=demonstrations(), device="cpu")
    given = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32), np.zeros((4, 2), np.float32), np.zeros(4)
    np.testing.assert_array_equal(loaded.reward_net.predict(*given), model.reward_net.predict(*given))
    np.testing.assert_array_equal(
        loaded.predict(given[0], deterministic=True)[0], model.predict(given[0], deterministic=True)[0]
    )
    for a, b in zip(state_of(model), state_of(loaded), strict=True):
        assert th.equal(a, b)
    before = state_of(loaded)
    loaded.learn(40, reset_num_timesteps=False)
    assert loaded.num_timesteps == 100 and loaded.generator._n_updates > model.generator._n_updates
    assert not all(th.equal(a, b) for a, b in zip(before, state_of(loaded), strict=True))


def test_load_to_act_alone(tmp_path: Path) -> None:
    make(AIRL).save(tmp_path / "model")
    loaded = AIRL.load(tmp_path / "model", device="cpu")
    assert loaded.generator.replay_buffer.buffer_size == 1
    assert loaded.predict(np.zeros(2, np.float32))[0].shape == (1,)


def test_replay_buffer_and_reward_net_alone(tmp_path: Path) -> None:
    model = make(AIRL)
    model.learn(40)
    model.save_replay_buffer(tmp_path / "buffer")
    model.load_replay_buffer(tmp_path / "buffer")
    assert model.generator.replay_buffer.size() == 40
    assert model.generator.replay_buffer.sample(5).rewards.shape == (5, 1)
    model.reward_net.save(tmp_path / "reward.pt")
    given = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32), np.zeros((4, 2), np.float32), np.zeros(4)
    alone = ShapedRewardNet.load(str(tmp_path / "reward.pt"), device="cpu")
    np.testing.assert_array_equal(alone.predict(*given), model.reward_net.predict(*given))


def test_callbacks_get_the_trainer(tmp_path: Path) -> None:
    """Callbacks save the whole model, and evaluate it by the environment's own reward."""
    model = make(AIRL)
    evaluation = EvalCallback(make_vec_env(Counting), eval_freq=20, best_model_save_path=str(tmp_path), verbose=0)
    model.learn(60, callback=evaluation)
    assert evaluation.model is model and evaluation.best_mean_reward == 15
    assert isinstance(AIRL.load(tmp_path / "best_model", device="cpu"), AIRL)


@pytest.mark.parametrize("generator", ["sac", "ppo"])
def test_a_callback_that_logs(generator: str) -> None:
    """It writes the generator's log, whose statistics of episodes the trainer has, too."""
    model = make(AIRL, generator, env=Monitor(Counting()), demos=demonstrations())
    model.learn(60, callback=LogEveryNTimesteps(20), log_interval=None)
    assert [episode["r"] for episode in model.ep_info_buffer] == [15] * 12
    assert model.generator.ep_info_buffer is model.ep_info_buffer


@pytest.mark.parametrize("method", METHODS)
def test_seeds(method: type[Any]) -> None:
    first, again, other = (make(method, seed=seed).learn(40) for seed in (3, 3, 4))
    assert all(th.equal(a, b) for a, b in zip(state_of(first), state_of(again), strict=True))
    assert not all(th.equal(a, b) for a, b in zip(state_of(first), state_of(other), strict=True))


def test_a_reset_drops_unfinished_episodes() -> None:
    """Steps before another environment is set, or before a second call of learn, are not joined to those after."""
    model = make(GANGCL, generator_kwargs={"learning_starts": 0})
    model.learn(13)
    model.set_env(Counting())
    model.learn(14, reset_num_timesteps=False)
    assert [episode.lengths for episode in model.discriminator.recent] == [[5]] * 4


def test_another_environment() -> None:
    """The generator trains in the new environment with the learned reward."""
    model = make(AIRL)
    other = Counting(ends=True)
    model.set_env(other)
    model.learn(40)
    assert model.generator.replay_buffer.dones[2, 0] == 1 and model.get_env().envs[0].unwrapped is other


def test_schedule_of_the_learning_rate() -> None:
    """Each round has the rate of its own step: also the rounds of on-policy generators, whose progress lags behind."""
    for generator in ("sac", "ppo"):
        rates: list[float] = []
        model = make(AIRL, generator, disc_learning_rate=lambda remaining: 1e-3 * remaining, n_disc_updates=1)
        model.optimizer.register_step_pre_hook(
            lambda optimizer, *_, rates=rates: rates.append(optimizer.param_groups[0]["lr"])
        )
        model.learn(80)
        assert rates == pytest.approx([1e-3 * (1 - step / 80) for step in (20, 40, 60, 80)])


class OwnSAC(SAC):
    """A subclass that names no argument."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_temperature_of_subclasses() -> None:
    model: Any = AIRL("MlpPolicy", Counting(), generator=OwnSAC)
    assert float(model.generator.ent_coef_tensor) == 1


def test_temperature() -> None:
    """The temperature that the reward is learned for is the default; another one is accepted with a warning."""
    assert float(make(AIRL).generator.ent_coef_tensor) == 1 and make(AIRL, "ppo").generator.ent_coef == 0
    assert make(GAIL).generator.ent_coef == "auto"
    with pytest.warns(UserWarning, match=r"`generator_kwargs\['ent_coef'\]` is 'auto', .* needs ent_coef=1.0"):
        make(AIRL, generator_kwargs={"ent_coef": "auto"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(AIRL, generator_kwargs={"ent_coef": 1.0})


def test_discriminator_separates_demonstrations_from_samples() -> None:
    """Demonstrations always have action 1. AIRL's logits are f - ln q; GAIL needs no density."""
    model = make(AIRL, n_disc_updates=200, disc_learning_rate=1e-2)
    model.learn(41)
    discriminator, generator = model.discriminator, model.generator
    demos, samples = discriminator.training_data(model._demos, generator)
    with th.no_grad():
        expected = model.reward_net(*samples.transitions) - samples.log_q
        th.testing.assert_close(discriminator.logits(*samples), expected)
        assert float((discriminator.logits(*demos) > 0).float().mean()) > 0.9
    made = make(GAIL, "td3", generator_kwargs={"learning_starts": 10, "batch_size": 8})
    made.learn(40)
    assert made.num_timesteps == 40


def test_episodes_of_random_actions_are_left_out() -> None:
    """Actions before ``learning_starts`` do not come from the policy, so that q(τ) would be wrong."""
    model = make(GANGCL, generator_kwargs={"learning_starts": 22})
    model.learn(60)
    recent = model.discriminator.recent
    assert len(recent) == 7  # of twelve episodes of five steps, the first five are random or partly so
    assert all(episode.lengths == [5] and episode.log_q.shape == (1,) for episode in recent)


def test_trajectory_logits() -> None:
    """Sums over steps: of rewards in D, of ln π in q."""
    model = make(GANGCL, discriminator_kwargs={"partition": "mixture"})
    model.learn(60)
    discriminator, generator = model.discriminator, model.generator
    demos, samples = discriminator.training_data(model._demos, generator)
    expert = concatenate(model._demos)
    rewards = model.reward_net(*expert).split([5, 5, 5])
    th.testing.assert_close(discriminator.returns(demos), th.stack([part.sum() for part in rewards]))
    components = discriminator.mixture.components
    counts = th.tensor([component.n_samples for component in components])
    assert len(components) > 1 and counts.sum() == len(discriminator.recent)
    log_probs = discriminator.component_log_probs(discriminator.mixture, expert, generator).reshape(-1, 3, 5).sum(-1)
    expected = (log_probs.exp() * (counts / counts.sum()).unsqueeze(1)).sum(0).log()
    th.testing.assert_close(demos.log_q, expected)
    at_collection = th.cat([episode.log_q for episode in discriminator.recent])
    assert (samples.log_q >= at_collection - math.log(len(at_collection)) - 1e-4).all()  # each is in the mixture
    drawn = samples.draw(2)
    assert len(drawn.lengths) == 2 and len(drawn.transitions.actions) == 10 and drawn.log_q.shape == (2,)


@pytest.mark.parametrize(
    ("objective", "partition"),
    [("gan", "mixture"), ("gan", "sampler"), ("gan", "learned"), ("cost", "mixture"), ("cost", "sampler")],
)
def test_objectives_and_partitions(objective: str, partition: str) -> None:
    model = make(GANGCL, discriminator_kwargs={"objective": objective, "partition": partition})
    model.learn(60)
    log_z = model.discriminator.partition.log_z.item()
    assert np.isfinite(log_z) and log_z != 0


def test_load_with_another_kind_of_partition(tmp_path: Path) -> None:
    """A learned ln Z is a parameter of the optimizer, which the other kinds do not have."""
    for saved, other in (("mixture", "learned"), ("learned", "sampler")):
        make(GANGCL, discriminator_kwargs={"partition": saved}).save(tmp_path / "model")
        with pytest.raises(ValueError, match=r"must be those of the saved model's networks, .* parameter groups"):
            GANGCL.load(tmp_path / "model", device="cpu", discriminator_kwargs={"partition": other})
    make(GANGCL, discriminator_kwargs={"partition": "mixture"}).save(tmp_path / "model")
    loaded: Any = GANGCL.load(tmp_path / "model", device="cpu", discriminator_kwargs={"partition": "sampler"})
    assert loaded.discriminator.partition.kind == "sampler"


def test_a_cost_has_no_learned_partition() -> None:
    with pytest.raises(ValueError, match="`partition` must be one of 'mixture', 'sampler', got 'learned'"):
        make(GANGCL, discriminator_kwargs={"objective": "cost", "partition": "learned"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"disc_interval": 0}, "`disc_interval` must be >= 1, got 0"),
        ({"discriminator_kwargs": {"action_margin": 0.0}}, "`action_margin` must be > 0 and < 1, got 0.0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be >= 0, got -1.0"),
        ({"discriminator_kwargs": {"n_recent": 0}}, "`n_recent` must be >= 1, got 0"),
        ({"generator": "td3"}, "`generator` must be an algorithm whose policy has a density, got TD3"),
        ({"generator": "foo"}, "`generator` must be one of .*'sac', .* got 'foo'"),
        (
            {"generator": "ppo_lstm", "policy": "MlpLstmPolicy"},
            "`generator` must be an algorithm without a recurrent policy, got RecurrentPPO",
        ),
        ({"generator": "ars"}, "`generator` must be a gradient-based algorithm, got ARS"),
        ({"generator_kwargs": {"n_steps": 3}}, r"`generator_kwargs\['n_steps'\]` must be 1, got 3"),
        (
            {"generator_kwargs": {"action_noise": NormalActionNoise(np.zeros(1), np.ones(1))}},
            r"`generator_kwargs\['action_noise'\]` must be None, .* got NormalActionNoise",
        ),
        ({"demonstrations": []}, "`demonstrations` must have at least one trajectory, got none"),
        ({"demonstrations": "nowhere.npz"}, r"no file nowhere\.npz"),
        ({"policy": "NoPolicy"}, "`policy` must be one of 'MlpPolicy', .* got 'NoPolicy'"),
        ({"reward_kwargs": {"inputs": "action"}}, "`inputs` must be one of 'state', 'state_action', .* got 'action'"),
        ({"discriminator_kwargs": {"source": "all"}}, "`source` must be one of 'recent', 'replay', got 'all'"),
        (
            {"discriminator_kwargs": {"source": "replay"}, "generator": "ppo"},
            "`source` must be 'recent' for PPO, got 'replay'",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    defaults: dict[str, Any] = {"policy": "MlpPolicy", "env": Counting(), "demonstrations": demonstrations(1)}
    with pytest.raises(ValueError, match=words):
        AIRL(**(defaults | arguments))


def test_unusable_demonstrations_and_environments() -> None:
    with pytest.raises(ValueError, match=r"`demonstrations\[0\]\.actions` must have rows of shape \(1,\), got \(\)"):
        AIRL("MlpPolicy", Counting(), demonstrations(1, discrete=True))
    with pytest.raises(
        ValueError, match=r"`demonstrations\[0\]\.observations` must have rows of shape \(3,\), got \(2,\)"
    ):
        AIRL("MlpPolicy", "Pendulum-v1", demonstrations(1))
    model = make(AIRL)
    before = model.get_env()
    with pytest.raises(ValueError, match="`env` must not contain a VecNormalize"):
        model.set_env(VecNormalize(make_vec_env(Counting)))
    assert model.get_env() is before
    with pytest.raises(ValueError, match="`env` must not contain a VecNormalize"):
        AIRL("MlpPolicy", VecNormalize(make_vec_env(Counting)), demonstrations(1))
    with pytest.raises(ValueError, match=r"`demonstrations` must be trajectories, .* got None"):
        AIRL("MlpPolicy", Counting()).learn(10)
    assert issubclass(AIRL, AdversarialIRL)


# Loading


@pytest.mark.parametrize("generator", ["sac", "ppo"])
@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_policies_for_dictionaries(generator: str, policy: str) -> None:
    with pytest.raises(ValueError, match=rf"`policy` must be 'MultiInputPolicy' for dictionary .*, got '{policy}'"):
        AIRL(policy, Counting(as_dict=True), generator=generator)


@pytest.mark.parametrize("generator", ["sac", "ppo"])
def test_load_with_demonstrations_in_a_file(generator: str, tmp_path: Path) -> None:
    """As ``train -i`` does, which passes all constructor arguments again."""
    model = make(AIRL, generator).learn(20)
    model.save(tmp_path / "model")
    save_trajectories(tmp_path / "demos.npz", demonstrations(2))
    kwargs: dict[str, Any] = {
        "generator": generator,
        "generator_kwargs": GENERATORS[generator],
        "demonstrations": tmp_path / "demos.npz",
    }
    loaded: Any = AIRL.load(tmp_path / "model", Counting(), "cpu", **kwargs)
    assert len(loaded.demonstrations) == len(loaded._demos) == 2
    assert loaded.learn(20, reset_num_timesteps=False).num_timesteps == 40
    assert AIRL.load(tmp_path / "model", device="cpu", **kwargs).predict(np.zeros(2, np.float32))[0].shape == (1,)
    with pytest.raises(ValueError, match=r"`demonstrations` must be trajectories, .* got None"):
        AIRL.load(tmp_path / "model", Counting(), "cpu").learn(20)


def test_load_with_other_arguments_of_the_generator(tmp_path: Path) -> None:
    model = make(AIRL, "sac")
    model.generator.batch_size = 7
    model.save(tmp_path / "model")
    loaded = AIRL.load(tmp_path / "model", Counting(), "cpu", generator_kwargs={"gamma": 0.5, "batch_size": 8})
    assert loaded.generator.gamma == 0.5  # given
    assert loaded.generator.batch_size == 7  # as it was saved, because no other value than the first is given
    assert loaded.generator.replay_buffer.reward is not None
    with pytest.raises(ValueError, match="`generator` must be SAC, as in the saved model, got 'ppo'"):
        AIRL.load(tmp_path / "model", device="cpu", generator="ppo")


def test_load_with_other_arguments(tmp_path: Path) -> None:
    """They replace those of the saved model, and are saved with it in turn; what is not given stays as saved."""
    kwargs: dict[str, Any] = {"n_recent": 30, "action_margin": 0.2}
    own = {"gamma": 0.9, "train_freq": (2, "step")}
    model = make(AIRL, generator_kwargs=own, weight_decay=0.5, discriminator_kwargs=kwargs).learn(40)
    model.save(tmp_path / "model")
    changes: dict[str, Any] = {
        "disc_learning_rate": 0.25,
        "weight_decay": 0.125,
        "generator_kwargs": {"tau": 0.5},
        "discriminator_kwargs": {"action_margin": 0.1},
        "reward_kwargs": {"inputs": "state_action"},
        "seed": 7,
        "stats_window_size": 3,
        "demonstrations": demonstrations(),
    }
    loaded: Any = AIRL.load(tmp_path / "model", Monitor(Counting()), "cpu", **changes)
    each: Any
    loaded.learn(40, reset_num_timesteps=False).save(tmp_path / "again")
    for each in (loaded, AIRL.load(tmp_path / "again", Counting(), "cpu")):
        (group,) = each.optimizer.param_groups
        assert group["lr"] == 0.25 and group["weight_decay"] == 0.125
        assert each.seed == each.generator.seed == 7
        assert each.generator.gamma == each.reward_net.gamma == 0.9 and each.generator.tau == 0.5
        assert each.discriminator.n_recent == 30 and len(each.reward_net.options.hidden) == 1
        assert float(each.reward_net.action_limit) == pytest.approx(0.9)
        assert each.generator._stats_window_size == 3
    assert len(loaded.ep_info_buffer) == 3


def test_load_with_arguments_that_do_not_fit(tmp_path: Path) -> None:
    make(AIRL).save(tmp_path / "model")
    arguments: dict[str, Any]
    for arguments, words in (
        ({"demo_batch": 3}, "`kwargs` must only have the keys .*'demo_batch_size', .* got 'demo_batch'"),
        ({"generator_kwargs": {"gama": 0.5}}, "`generator_kwargs` must only have the keys .* got 'gama'"),
        (
            {"reward_kwargs": {"hidden": (9,)}},
            "`reward_kwargs` and `discriminator_kwargs` must be those of",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            AIRL.load(tmp_path / "model", device="cpu", **arguments)


@pytest.mark.parametrize("generator", ["sac", "ppo"])
def test_load_in_the_middle_of_an_episode(generator: str, tmp_path: Path) -> None:
    model = make(
        AIRL, generator, generator_kwargs={"n_steps": 23, "batch_size": 23} if generator == "ppo" else {}
    ).learn(23)
    model.save(tmp_path / "model")
    for force_reset, first in ((False, 3), (True, 0)):
        loaded: Any = AIRL.load(
            tmp_path / "model", model.get_env(), "cpu", force_reset=force_reset, demonstrations=demonstrations()
        )
        loaded.learn(1, reset_num_timesteps=False)
        assert loaded.discriminator.recent[0].observations[0, 0] == first


def test_an_environment_after_loading(tmp_path: Path) -> None:
    """The replay buffer gets its size when there is something to store, and keeps it when saved in between."""
    make(AIRL, generator_kwargs={"buffer_size": 50}).save(tmp_path / "model")
    AIRL.load(tmp_path / "model", device="cpu").save(tmp_path / "again")
    loaded = AIRL.load(tmp_path / "again", device="cpu", demonstrations=demonstrations())
    loaded.set_env(Counting())
    loaded.learn(40)
    assert loaded.replay_buffer.buffer_size == 50 and loaded.replay_buffer.size() == 40
    assert loaded.replay_buffer.sample(5).rewards.shape == (5, 1)


def test_hindsight_with_samples_of_the_replay_buffer() -> None:
    """Its buffer can be sampled only after the first episode, here of 40 steps: the rounds begin then."""
    always: Any = Always(np.ones(12, np.float32))

    def long_episodes() -> Any:
        return BitFlippingEnv(12, continuous=True, max_steps=40)

    demos = collect_demonstrations(always, make_vec_env(long_episodes), 1)
    model = make(
        GAIL,
        "sac",
        long_episodes(),
        demos,
        generator_kwargs={"replay_buffer_class": HerReplayBuffer, "learning_starts": 60},
        discriminator_kwargs={"source": "replay"},
    )
    trained_at: list[int] = []
    train = model.train_discriminator

    def recorded() -> None:
        trained_at.append(model.num_timesteps)
        train()

    model.train_discriminator = recorded
    model.learn(100)
    assert trained_at and trained_at[0] >= 40


@pytest.mark.parametrize("source", ["recent", "replay"])
def test_discrete_actions_and_a_proximal_step(source: str) -> None:
    """SB3's replay buffers add an axis to discrete actions, demonstrations have none."""
    settings = {"source": source, "regularization": {"proximal_weight": 1.0}}
    kwargs = {"learning_starts": 10, "batch_size": 8, "buffer_size": 100}
    env, demos = Counting(discrete=True), demonstrations(2, discrete=True)
    make(GAIL, "dqn", env, demos, generator_kwargs=kwargs, discriminator_kwargs=settings).learn(60)


def test_hindsight_after_loading(tmp_path: Path) -> None:
    """Its replay buffer asks for the environment, which a model that only acts does not have."""
    env, action = BitFlippingEnv(4, continuous=True), np.ones(4, np.float32)
    always: Any = Always(action)
    demos = collect_demonstrations(always, make_vec_env(lambda: BitFlippingEnv(4, continuous=True)), 1)
    model = make(AIRL, "sac", env, demos, generator_kwargs={"replay_buffer_class": HerReplayBuffer}).learn(20)
    model.save(tmp_path / "model")
    loaded = AIRL.load(tmp_path / "model", device="cpu", demonstrations=demos)
    assert loaded.predict(env.reset()[0])[0].shape == (4,)
    loaded.set_env(env)
    assert isinstance(loaded.learn(20).replay_buffer, HerReplayBuffer)


@pytest.mark.parametrize("from_file", [False, True])
def test_parameters_include_the_policy(from_file: bool, tmp_path: Path) -> None:
    """As in SB3, they can be copied to another model, from a dictionary or a file."""
    model, other = make(AIRL, seed=1).learn(40), make(AIRL, seed=2)
    model.save(tmp_path / "model")
    other.set_parameters(str(tmp_path / "model") if from_file else model.get_parameters(), device="cpu")
    for a, b in zip(state_of(model), state_of(other), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)
    observation = np.ones(2, np.float32)
    actions = [each.predict(observation, deterministic=True)[0] for each in (model, other)]
    np.testing.assert_array_equal(*actions)
    with pytest.raises(ValueError, match="unknown"):
        other.set_parameters({**model.get_parameters(), "unknown": {}})


@pytest.mark.parametrize("generator", ["sac", "ppo"])
def test_learning_rates_in_the_log(generator: str) -> None:
    """That of the generator is under "train", that of the discriminator beside its other metrics."""
    written: list[dict[str, Any]] = []

    class Memory(KVWriter):
        def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
            written.append(dict(key_values))

        def close(self) -> None: ...

    model = make(AIRL, generator, generator_kwargs={"learning_rate": 0.01}, disc_learning_rate=1e-4)
    model.set_logger(Logger(None, [Memory()]))
    model.learn(120, log_interval=1)
    for name, rate in (("train/learning_rate", 0.01), ("discriminator/learning_rate", 1e-4)):
        assert {values[name] for values in written if name in values} == {rate}


def test_callbacks_know_the_number_of_steps() -> None:
    """In all, as in SB3: those of earlier calls of ``learn`` count too."""

    class Total(BaseCallback):
        seen = 0

        def _on_step(self) -> bool:
            self.seen = self.model._total_timesteps
            return True

    model, total = make(AIRL), Total()
    model.learn(40, callback=total)
    assert total.seen == 40
    model.learn(20, callback=total, reset_num_timesteps=False)
    assert total.seen == 60


class ShortSighted(SAC):
    """Its discount factor has another default."""

    def __init__(self, policy: Any, env: Any, gamma: float = 0.9, **kwargs: Any) -> None:
        super().__init__(policy, env, gamma=gamma, **kwargs)


def test_discount_factor_is_the_generators() -> None:
    for generator, gamma in ((SAC, 0.99), (ShortSighted, 0.9)):
        model = AIRL("MlpPolicy", Counting(), demonstrations(), generator, device="cpu")
        assert model.generator.gamma == model.reward_net.gamma == gamma
    model = AIRL("MlpPolicy", Counting(), demonstrations(), ShortSighted, {"gamma": 0.5}, device="cpu")
    assert model.generator.gamma == model.reward_net.gamma == 0.5


@pytest.mark.parametrize("method", [AIRL, GAIL])
def test_loaded_replay_buffers(method: type[Any], tmp_path: Path) -> None:
    """The policies that made a replay buffer are not saved, so that its density is unknown after loading."""
    model = make(method, discriminator_kwargs={"source": "replay"}).learn(40)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = method.load(tmp_path / "model", Counting(), "cpu", demonstrations=demonstrations())
    if method is AIRL:
        with pytest.raises(ValueError, match=r"`source` must be 'recent' to load a replay buffer, .* got 'replay'"):
            loaded.load_replay_buffer(tmp_path / "buffer")
    else:
        loaded.load_replay_buffer(tmp_path / "buffer")
    loaded.learn(40, reset_num_timesteps=False)


@pytest.mark.parametrize("name", ["policy_kwargs", "seed", "device"])
def test_arguments_of_the_trainer_are_not_the_generators(name: str) -> None:
    with pytest.raises(ValueError, match=f"`generator_kwargs` must not have '{name}', which must be passed to"):
        make(AIRL, generator_kwargs={name: {}})


def test_the_callers_dictionary_is_left_alone() -> None:
    given: dict[str, Any] = {"net_arch": [8]}
    for generator in ("sac", "sac_ardae", "ppo"):
        make(GAIL, generator, policy_kwargs=given)
        assert given == {"net_arch": [8]}


def test_in_the_middle_of_an_episode() -> None:
    """The step after ``set_env`` without a reset continues from the last observation."""
    model = make(AIRL).learn(23)
    model.set_env(model.get_env(), force_reset=False)
    model.learn(1, reset_num_timesteps=False)
    assert model.discriminator.recent[-1].observations[0, 0] == 3


# Observations that are not finite


def test_observations_that_are_not_finite() -> None:
    model = make(AIRL)
    with pytest.raises(ValueError, match="`observation` must be finite, got 1 of 2 values that are not"):
        model.predict(np.array([0, np.nan], np.float32), deterministic=True)

    class Broken(Counting):
        when = 3

        def _observation(self) -> Any:
            return np.array([self._t, np.nan if self._t == self.when else 0], np.float32)

    for step in (3, 0):
        Broken.when = step
        with pytest.raises(ValueError, match="`observations` must be finite, got 1 of 2 values that are not"):
            make(AIRL, env=Broken(), demos=demonstrations()).learn(10)
