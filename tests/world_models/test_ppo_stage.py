"""Controllers of frames, which PPO trains, including their convolutions."""

from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

from ardae_rl.common.callbacks import StopAfter
from ardae_rl.export import WorldModelDecision
from ardae_rl.runs.tables import read_csv
from ardae_rl.world_models import WorldModelPolicy, WorldModels
from ardae_rl.world_models.controller_envs import Bonus, make_training_venv
from ardae_rl.world_models.film import film
from ardae_rl.world_models.latent_control import WorldModelVecEnv
from ardae_rl.world_models.plots import draw_learning
from ardae_rl.world_models.ppo_stage import PPOStage
from ardae_rl.world_models.seeds import TRAINING_SEEDS
from ardae_rl.world_models.selection import Selection
from ardae_rl.world_models.vision import as_images
from tests.world_models.brightness import Brightness


class BrightnessToCollect(Brightness):
    """Another class, to tell the environments apart."""


class Unrewarded(Brightness):
    """All rewards are 0."""

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, 0.0, *rest


SMALL: dict[str, Any] = {
    "env": Brightness(),
    "collection_env": Brightness,
    "search_env": Brightness,
    "search": "ppo",
    "n_episodes": 2,
    "n_envs": 2,
    "vision_kwargs": {"n_steps": 2},
    "memory_kwargs": {"n_steps": 2, "sequence_length": 4},
    "search_kwargs": {"n_steps": 8, "batch_size": 8, "evaluate_every": 16, "n_held_out": 2, "n_tested": 2},
    "policy_kwargs": {"z_dim": 4, "vision_width": 4, "memory_hidden": 8, "controller_input": "frames"}
    | {"controller_hidden": [8], "n_frames": 2},
    "seed": 0,
    "device": "cpu",
}


def model(folder: Path | None = None, **arguments: Any) -> WorldModels:
    merged = {name: SMALL[name] | value for name, value in arguments.items() if isinstance(value, dict)}
    return WorldModels("CnnPolicy", folder=folder, **(SMALL | arguments | merged))


def weights(agent: WorldModels) -> list[th.Tensor]:
    assert agent.policy.stacked_policy is not None
    return [parameter.detach().clone() for parameter in agent.policy.stacked_policy.parameters()]


def assert_same(one: list[th.Tensor], other: list[th.Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_learn_save_load(tmp_path: Path) -> None:
    """The weights are the best of the tested ones, and a loaded model acts like the saved one."""
    agent = model(tmp_path).learn(60)
    folder = tmp_path / "round_0"
    rows, tested = read_csv(folder / "controller.csv"), read_csv(folder / "controller_tested.csv")
    collected = agent.store().n_steps
    n_updates = -(-(60 - collected) // 16)
    assert [float(row["n_steps"]) for row in rows] == [16.0 * (1 + k // 2) for k in range(2 * n_updates)]
    assert [row["averaged"] for row in rows[:2]] == ["0.0", "1.0"] and len(tested) == min(5, len(rows))
    assert [float(row["n_held_out_steps"]) for row in rows] == [10.0 * (k + 1) for k in range(len(rows))]
    assert agent.num_timesteps == collected + 16 * n_updates + int(float(rows[-1]["n_held_out_steps"]))
    best = max(tested, key=lambda row: float(row["tested_mean"]))
    saved = th.load(folder / "controller.pt", weights_only=True)["parts"]["selection"]["weights"]
    assert len(saved) == len(tested)
    kept = saved[rows.index({k: best[k] for k in rows[0]})]
    assert agent.policy.stacked_policy is not None and agent.iteration == 1
    assert_same(list(kept.values()), list(agent.policy.stacked_policy.actor.state_dict().values()))
    agent.save(tmp_path / "model")
    loaded = WorldModels.load(tmp_path / "model", env=Brightness(), device="cpu")
    assert_same(weights(agent), weights(loaded))
    frames = np.random.default_rng(0).integers(256, size=(2, *Brightness().observation_space.shape), dtype=np.uint8)
    np.testing.assert_array_equal(*(one.predict(frames, deterministic=True)[0] for one in (agent, loaded)))
    returns, _ = evaluate_policy(loaded, Brightness(), n_eval_episodes=1, warn=False)
    assert np.isfinite(returns)
    assert draw_learning(folder, tmp_path / "learning.png").stat().st_size > 10_000
    assert film(agent.policy, Brightness, tmp_path / "film.mp4", n_steps=3).stat().st_size > 0


def test_it_learns(tmp_path: Path) -> None:
    """From 1.96, the return of doing nothing, to near the best of 4.12."""
    search = {"n_steps": 32, "batch_size": 32, "learning_rate": 3e-3, "evaluate_every": 128, "patience": None}
    agent = model(tmp_path, n_envs=4, search_kwargs=search, policy_kwargs={"controller_hidden": [32]}).learn(2500)
    rows = read_csv(tmp_path / "round_0" / "controller.csv")
    returns, _ = evaluate_policy(agent, Brightness(), n_eval_episodes=1, warn=False)
    assert float(rows[0]["held_out_mean"]) < 3.3 and np.mean(returns) > 3.9


def test_running_average(tmp_path: Path) -> None:
    """With a share of 1 it equals the latest weights; with a smaller one it lags behind."""
    for share, agree in ((1.0, True), (0.1, False)):
        model(tmp_path / str(share), search_kwargs={"averaging": share}).learn(60)
        rows = read_csv(tmp_path / str(share) / "round_0" / "controller.csv")
        latest, averaged = ([row["held_out_mean"] for row in rows[first::2]] for first in (0, 1))
        assert len(latest) > 1 and [a == b for a, b in zip(latest, averaged, strict=True)] == [agree] * len(latest)


def test_settings_of_the_training_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the stage and the policy; search and collection environments are used in turn."""
    given: dict[str, Any] = {}

    def make(makers: Any, n_envs: int, **settings: Any) -> Any:
        given.update(settings, makers=makers, n_envs=n_envs)
        return make_training_venv(makers, n_envs, **settings)

    monkeypatch.setattr("ardae_rl.world_models.world_models.make_training_venv", make)
    search = {"patience": 3, "bonus": 7.0, "bonus_info": "over", "gamma": 0.9}
    model(tmp_path, collection_env=BrightnessToCollect, search_kwargs=search).learn(20)
    assert [type(make_env()) for make_env in given.pop("makers")] == [Brightness, BrightnessToCollect]
    assert given == {"n_envs": 2, "n_frames": 2, "cropped_rows": 0, "action_map": "auto", "patience": 3} | {
        "bonus": (7.0, "over"),
        "gamma": 0.9,
        "in_processes": False,
    }


def test_a_second_round_goes_on_with_the_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not initialized with V again."""
    agent = model(tmp_path).learn(40)
    first = weights(agent)
    monkeypatch.setattr(agent.policy, "start_from_vision", lambda: pytest.fail("begins from V again"))
    agent.learn(40, reset_num_timesteps=False)
    assert agent.iteration == 2 and len(agent.store()) == 4
    assert any(not th.equal(a, b) for a, b in zip(first, weights(agent), strict=True))


class Interrupt(BaseCallback):
    """Fails in an update, after a number of them."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def _on_step(self) -> bool:
        if self.locals["stage"] == "search":
            self.after -= 1
            if self.after < 0:
                raise KeyboardInterrupt
        return True


def test_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """Evaluations before the interruption are kept, and the number of decisions equals that of a whole run."""
    with pytest.raises(KeyboardInterrupt):
        model(tmp_path).learn(100, Interrupt(after=2))
    before = read_csv(tmp_path / "round_0" / "controller.csv")
    agent = model(tmp_path).learn(100)
    after = read_csv(tmp_path / "round_0" / "controller.csv")
    assert len(before) == 4 and after[:4] == before
    assert float(after[-1]["n_steps"]) == 16 * -(-(100 - agent.store().n_steps) // 16)
    with pytest.raises(ValueError, match=r"`search_kwargs\['gamma'\]` must be 0.99, as recorded in .*, got 0.9"):
        model(tmp_path, search_kwargs={"gamma": 0.9}).learn(100)
    with pytest.raises(ValueError, match=r"`n_envs` must be 2, as recorded in .*, got 4"):
        model(tmp_path, n_envs=4).learn(100)
    with pytest.raises(ValueError, match=r"`n_decisions` must be 90, as recorded in .*, got 190"):
        model(tmp_path).learn(200)


def test_a_whole_training_is_seeded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int | None] = []
    monkeypatch.setattr(PPO, "set_random_seed", lambda agent, seed=None: seeds.append(seed))
    model(tmp_path).learn(100)
    assert len(seeds) == 1 and seeds[0] in TRAINING_SEEDS


def test_resumes_in_new_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environments have other seeds than at the start of the training."""
    seeds: list[int] = []
    reset = Brightness.reset

    def recorded(env: Brightness, *, seed: int | None = None, options: Any = None) -> Any:
        seeds.extend([] if seed is None else [seed])
        return reset(env, seed=seed, options=options)

    monkeypatch.setattr(Brightness, "reset", recorded)
    with pytest.raises(KeyboardInterrupt):
        model(tmp_path).learn(100, Interrupt(after=1))
    begun = [seed for seed in seeds if seed in TRAINING_SEEDS]
    seeds.clear()
    model(tmp_path).learn(100)
    resumed = [seed for seed in seeds if seed in TRAINING_SEEDS]
    assert not set(resumed[-2:]) & set(begun)  # one seed for each environment


class Clock(StopAfter):
    """A fifth of the time passes with each update."""

    def __init__(self) -> None:
        super().__init__(1)
        self.left = 1.0

    def _on_step(self) -> bool:
        self.left -= 0.2 * (self.locals["stage"] == "search")
        return self.left > 0.1

    @property
    def seconds_left(self) -> float:
        return self.left


def test_learning_rate_falls_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit ends the training, with an evaluation, when the learning rate has fallen and the weight of the
    entropy has risen."""
    agent, clock = model(tmp_path, search_kwargs={"evaluate_every": 32, "sharpening": 0.5}), Clock()
    rates: list[float] = []
    weights: list[float] = []

    def train(agent: PPO) -> None:
        original(agent)
        rates.append(agent.policy.optimizer.param_groups[0]["lr"])
        weights.append(agent.ent_coef)

    original = PPO.train
    monkeypatch.setattr(PPO, "train", train)
    agent.learn(10**6, clock)
    assert rates == pytest.approx([3e-4, 2.4e-4, 1.8e-4, 1.2e-4, 0.6e-4])
    assert weights == pytest.approx([0, -0.1, -0.2, -0.3, -0.4])
    assert agent.iteration == 0 and len(read_csv(tmp_path / "round_0" / "controller.csv")) == 6


@pytest.mark.parametrize(("batch_size", "used"), [(8, 8), (64, 16)])
def test_a_batch_is_no_larger_than_a_rollout(
    batch_size: int, used: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two environments of eight decisions each."""
    sizes: list[int] = []
    monkeypatch.setattr(PPO, "train", lambda agent: sizes.append(agent.batch_size))
    model(tmp_path, search_kwargs={"batch_size": batch_size}).learn(10 + 16)
    assert sizes == [used]


def test_clip_range_falls_to_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linearly, down to half of its value at the end of the training."""
    used: list[float] = []

    def train(agent: PPO) -> None:
        original(agent)
        used.append(agent.logger.name_to_value["train/clip_range"])

    original = PPO.train
    monkeypatch.setattr(PPO, "train", train)
    agent = model(tmp_path, search_kwargs={"clip_range": 0.4, "evaluate_every": 10**6})
    agent.learn(10 + 4 * 16)  # two episodes of five steps, and four updates
    assert used == pytest.approx([0.4, 0.35, 0.3, 0.25])


@pytest.mark.parametrize(("target_kl", "n_epochs"), [(1e6, 3), (1e-6, 1)])
def test_updates_end_at_the_target(
    target_kl: float, n_epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy changes with the first of the batches: with a small target, there is no second pass over them."""
    epochs: list[int] = []

    def train(agent: PPO) -> None:
        original(agent)
        epochs.append(agent._n_updates)

    original = PPO.train
    monkeypatch.setattr(PPO, "train", train)
    search = {"target_kl": target_kl, "n_epochs": 3, "learning_rate": 0.01, "evaluate_every": 10**6}
    model(tmp_path, search_kwargs=search).learn(10 + 16)
    assert epochs == [n_epochs]


def test_updates_use_as_many_threads_as_there_are_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setattr(PPO, "train", lambda _: used.append(th.get_num_threads()))
    before = th.get_num_threads()
    model(tmp_path, n_workers=before + 1).learn(32)
    assert set(used) == {before + 1} and th.get_num_threads() == before


def test_sharpening(tmp_path: Path) -> None:
    """Without rewards, it makes the policy narrower."""
    entropies = []
    for sharpening in (0.0, 10.0):
        search = {"sharpening": sharpening, "n_steps": 32, "learning_rate": 3e-3, "target_kl": 1.0}
        agent = model(
            tmp_path / str(sharpening), search_env=Unrewarded, collection_env=Unrewarded, search_kwargs=search
        )
        agent.learn(400)
        actor: Any = agent.policy.stacked_policy and agent.policy.stacked_policy.actor
        distribution = actor.get_distribution(th.zeros(1, 64 * 64 * 6, dtype=th.uint8))
        entropies.append(float(distribution.entropy().detach()))
    assert entropies[1] < entropies[0] - 0.3


def test_starts_at_the_features_of_v() -> None:
    agent = model()
    policy = agent.policy
    assert policy.stacked_policy is not None
    policy.start_from_vision()
    frames = th.randint(256, (2, 64, 64, 6), dtype=th.uint8)
    extractor: Any = policy.stacked_policy.actor.features_extractor
    features = extractor(frames.flatten(1).float())
    th.testing.assert_close(features, policy.vision.encoder(as_images(frames[..., -3:])))


class Lap(gym.Env[Any, Any]):
    """Episodes have two steps; the info of the last says that the lap is finished. All rewards are 1, or -1."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, reward: float = 1.0) -> None:
        self.reward = reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._t = 0
        return np.zeros((64, 64, 3), np.uint8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        end = self._t == 2
        return np.full((64, 64, 3), self._t, np.uint8), self.reward, end, False, {"over": end}


def test_bfloat16_is_for_the_training_alone(tmp_path: Path) -> None:
    """The weights are in single precision, and so are evaluations."""
    extractors: list[Any] = []

    original = PPO.train

    def train(agent: PPO) -> None:
        extractors.append(agent.policy.features_extractor)
        original(agent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PPO, "train", train)
        patch.setattr("ardae_rl.world_models.ppo_stage.th.cpu._is_avx512_bf16_supported", lambda: True)
        agent = model(tmp_path, search_kwargs={"bfloat16": True}).learn(20)
        assert extractors and all(extractor.in_bfloat16 for extractor in extractors)
        for units in ("avx512_bf16", "amx_tile"):
            patch.setattr(f"ardae_rl.world_models.ppo_stage.th.cpu._is_{units}_supported", lambda: False)
        extractors.clear()
        with pytest.warns(UserWarning, match="does not support bfloat16"):
            model(tmp_path / "other", search_kwargs={"bfloat16": True}).learn(20)
        assert extractors and not any(extractor.in_bfloat16 for extractor in extractors)
    assert agent.policy.stacked_policy is not None
    kept: Any = agent.policy.stacked_policy.actor.features_extractor
    assert not kept.in_bfloat16


def test_close_after_the_processes_have_ended() -> None:
    """As after Ctrl-C, which all of them receive: the interruption is raised, not an error of a pipe."""
    venv = make_training_venv([Lap], 2, n_frames=1, in_processes=True)
    processes: Any = venv.unwrapped.processes  # type: ignore[attr-defined]
    venv.reset()
    with pytest.raises(KeyboardInterrupt), closing(venv):
        venv.step_async(np.zeros((2, 1), np.float32))
        processes[0].kill()
        processes[0].join()
        raise KeyboardInterrupt
    assert [process.is_alive() for process in processes] == [False, False]
    assert venv.unwrapped.closed  # type: ignore[attr-defined]
    venv.close()


def test_bonus() -> None:
    env = Bonus(Lap(), 50.0, "over")
    env.reset()
    assert [env.step(0)[1] for _ in range(2)] == [1.0, 51.0]


def test_training_environments() -> None:
    """Makers take turns, frames are stacked, patience terminates, and returns are counted with the bonus."""
    makers = [Lap, lambda: Lap(-1.0)]
    venv = make_training_venv(makers, 3, n_frames=2, patience=1, bonus=(50.0, "over"))
    observations: Any = venv.reset()
    assert observations.shape == (3, 64 * 64 * 6) and venv.action_space.shape == (1,)
    actions = np.zeros((3, 1), np.float32)
    _, _, done, infos = venv.step(actions)
    assert done.tolist() == [False, True, False] and not infos[1]["TimeLimit.truncated"]
    _, _, done, infos = venv.step(actions)
    assert done.tolist() == [True, True, True]
    assert [info["episode"]["r"] for info in infos] == [52.0, -1.0, 52.0]
    assert infos[0]["terminal_observation"][:6].tolist() == [1, 1, 1, 2, 2, 2]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"`search` must be 'ppo' with .*'frames'}, and only then, got 'ppo' and 'zh'"):
        model(policy_kwargs={"controller_input": "zh"})
    with pytest.raises(ValueError, match="and only then, got 'dream' and 'frames'"):
        model(search="dream", search_kwargs=None)
    with pytest.raises(ValueError, match=r"`search_kwargs` must only have the keys 'n_steps', .* got 'sigma'"):
        model(search_kwargs={"sigma": 0.1})
    with pytest.raises(ValueError, match=r"`search_kwargs\['bonus'\]` must be >= 0, got -1"):
        PPOStage(bonus=-1)
    with pytest.raises(ValueError, match=r"`search_kwargs\['sharpening'\]` must be >= 0, got -0\.1"):
        PPOStage(sharpening=-0.1)
    with pytest.raises(ValueError, match=r"`search_kwargs\['batch_size'\]` must be >= 2, got 1"):
        PPOStage(batch_size=1)
    with pytest.raises(ValueError, match=r"`search_kwargs\['n_held_out'\]` must be between 1 and 10000, got 10001"):
        PPOStage(n_held_out=10_001)
    with pytest.raises(ValueError, match=r"`search_kwargs\['n_tested'\]` must be between 1 and 20000, got 20001"):
        PPOStage(n_tested=20_001)
    with pytest.raises(ValueError, match="`search` must be 'environment' or 'dream' to evolve a controller, got 'ppo'"):
        model().evolve_controller(10)
    policy: WorldModelPolicy = model().policy
    for use in (lambda: WorldModelDecision(policy), lambda: WorldModelVecEnv(model().get_env(), policy)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="`policy` must have a controller of latents"):
            use()


class OtherActions(Brightness):
    """Its actions have one more dimension."""

    action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize("name", ["collection_env", "search_env"])
def test_environments_are_checked_before_any_training(name: str, tmp_path: Path) -> None:
    agent = model(tmp_path, **{name: OtherActions})
    with pytest.raises(
        ValueError, match=rf"`{name}` must have the action space of `env`, Box.*\(2,\).*, got Box.*\(3,\)"
    ):
        agent.learn(100)
    agent = model(tmp_path, **{name: None})
    with pytest.raises(ValueError, match=f"`{name}` must be given for an `env` that is not registered, got None"):
        agent.learn(100)
    assert not tmp_path.joinpath("round_0").exists()


class Stop(BaseCallback):
    """Ends the training after some updates."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def _on_step(self) -> bool:
        self.after -= self.locals["stage"] == "search"
        return self.after > 0


def test_resumes_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best weights of its checkpoint are still there, although the evaluations at the stop were better.

    Returns grow from one evaluation to the next until the stop, and are low after it.
    """
    play, returns = Selection._play, iter([*range(1, 9), *[0] * 100])

    def scripted(selection: Selection, *arguments: Any) -> Any:
        played, n_steps = play(selection, *arguments)
        return np.full_like(played, next(returns)), n_steps

    monkeypatch.setattr(Selection, "_play", scripted)
    monkeypatch.setattr(Selection, "finish", lambda selection: None)
    model(tmp_path, search_kwargs={"evaluate_every": 48}).learn(250, Stop(after=11))
    monkeypatch.undo()
    monkeypatch.setattr(Selection, "_play", scripted)
    agent = model(tmp_path, search_kwargs={"evaluate_every": 48}).learn(250)
    rows = read_csv(tmp_path / "round_0" / "controller.csv")
    tested = read_csv(tmp_path / "round_0" / "controller_tested.csv")
    assert agent.iteration == 1 and float(rows[-1]["n_steps"]) == 16 * -(-(250 - agent.store().n_steps) // 16)
    assert [float(row["held_out_mean"]) for row in tested] == [6, 5, 4, 3, 2]


class PassedLimit(StopAfter):
    """A limit that passed while V and M were trained, which call no callback."""

    def _on_step(self) -> bool:
        return self.locals["stage"] != "search"


def test_a_time_limit_that_has_passed(tmp_path: Path) -> None:
    """It ends the training after one update."""
    agent = model(tmp_path).learn(10**6, PassedLimit(0))
    assert agent.iteration == 0
    assert {float(row["n_steps"]) for row in read_csv(tmp_path / "round_0" / "controller.csv")} == {16.0}
