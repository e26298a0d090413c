"""WorldModels through its SB3 interface, at tiny sizes on the real environment."""

import copy
import gc
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage

import ardae_envs  # noqa: F401
from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.runs import progress
from ardae_rl.runs.files import FolderInUseError
from ardae_rl.runs.tables import read_csv
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.environments import make_repeating
from ardae_rl.world_models.evolution import Evaluator
from ardae_rl.world_models.memory_stage import MemoryStage
from ardae_rl.world_models.ppo_stage import PPOStage
from ardae_rl.world_models.search_stage import SearchStage, make_dream_evaluator, make_evaluator
from ardae_rl.world_models.stage import Stage
from ardae_rl.world_models.vision_stage import VisionStage
from tests.world_models.brightness import Brightness

STEPS = 10


def make_env() -> gym.Env[Any, Any]:
    return gym.make("ardae/CarRacingFast-v0", max_episode_steps=STEPS)


SMALL: dict[str, Any] = {
    "env": "CarRacing-v3",
    "n_episodes": 4,
    "n_envs": 4,
    "collection_env": make_env,
    "search_env": make_env,
    "vision_kwargs": {"n_steps": 4},
    "memory_kwargs": {"n_steps": 4, "sequence_length": 5},
    "search_kwargs": {"population_size": 3, "seeds_per_generation": 1, "evaluate_every": 1, "n_held_out": 2},
    "policy_kwargs": {"z_dim": 4, "vision_width": 4, "memory_hidden": 8},
    "seed": 0,
    "device": "cpu",
}
TOY: dict[str, Any] = {"env": Brightness(), "collection_env": Brightness, "search_env": Brightness}


def model(folder: Path | None = None, **arguments: Any) -> WorldModels:
    """Return a small model; dictionaries of arguments are merged with the small ones, other arguments replace them."""
    merged = {name: SMALL[name] | value for name, value in arguments.items() if isinstance(value, dict)}
    return WorldModels("CnnPolicy", folder=folder, **(SMALL | arguments | merged))


def parameters(of: WorldModels) -> list[th.Tensor]:
    return [parameter.detach().clone() for parameter in of.policy.parameters()]


class Counter(BaseCallback):
    """Counts calls, and ends training at one of them."""

    def __init__(self, end_at: int | None = None) -> None:
        super().__init__()
        self.end_at, self.steps, self.n_inits = end_at, [0], 0

    def _init_callback(self) -> None:
        self.n_inits += 1

    def _on_step(self) -> bool:
        assert self.locals["self"] is self.model and self.locals["stage"] in ("collection", "search")
        self.steps.append(self.num_timesteps)
        return len(self.steps) - 1 != self.end_at


def test_learn(tmp_path: Path) -> None:
    """All parts change, steps are counted, and the model acts in the official environment, also after loading."""
    agent = model(tmp_path)
    before, callback = parameters(agent), Counter()
    agent.learn(150, callback)
    # 4 episodes of 10 steps; 2 held-out ones; then 3 candidates and 2 held-out ones in each generation
    assert agent.num_timesteps == 40 + 20 + 2 * 50
    assert callback.steps == sorted(callback.steps) and callback.steps[-1] == agent.num_timesteps
    assert callback.n_inits == 1
    assert any(not th.equal(a, b) for a, b in zip(before, parameters(agent), strict=True))
    agent.save(tmp_path / "model")
    official = gym.make("CarRacing-v3", max_episode_steps=STEPS)
    loaded = WorldModels.load(tmp_path / "model", env=official, device="cpu")
    for one in (agent, loaded):
        returns, _ = evaluate_policy(one, official, n_eval_episodes=1, warn=False)
        assert np.isfinite(returns)
    for a, b in zip(parameters(agent), parameters(loaded), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_bar_counts_environment_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count calls of the callback, each of which is a whole generation."""
    totals: list[int] = []
    shown: list[int] = []

    @contextmanager
    def recorded(description: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
        if description == "environment steps" and wanted:
            totals.append(total)
            yield shown.append
        else:
            yield lambda done: None

    monkeypatch.setattr(progress, "progress_bar", recorded)
    agent = model(tmp_path).learn(150, progress_bar=True)
    assert totals == [150] and shown == sorted(shown) and shown[-1] == agent.num_timesteps


def test_rounds_in_one_or_two_calls(tmp_path: Path) -> None:
    """Two rounds, two calls of ``learn``, or a saved model in between give the same parameters."""
    at_once = model(tmp_path / "a", n_iterations=2).learn(300)
    in_two = model(tmp_path / "b").learn(150)
    in_two.save(tmp_path / "model")
    in_two.learn(150, reset_num_timesteps=False)
    loaded = WorldModels.load(tmp_path / "model", env=gym.make("CarRacing-v3"), device="cpu")
    loaded.folder = tmp_path / "c"
    shutil.copytree(tmp_path / "b" / "frames", tmp_path / "c" / "frames")
    assert at_once.iteration == in_two.iteration == 2 and loaded.iteration == 1
    assert at_once.num_timesteps == in_two.num_timesteps
    loaded.learn(150, reset_num_timesteps=False)
    for other in (in_two, loaded):
        for a, b in zip(parameters(at_once), parameters(other), strict=True):
            th.testing.assert_close(a, b, rtol=0, atol=0)


def test_log(tmp_path: Path) -> None:
    """Fits are logged against gradient steps, which are counted across rounds; the search against environment steps."""
    agent = model(tmp_path, n_iterations=2)
    agent.set_logger(configure(str(tmp_path / "log"), ["json"]))
    agent.learn(300)
    lines = [json.loads(line) for line in (tmp_path / "log/progress.json").read_text().splitlines()]
    stages = [next(iter(line)).partition("/")[0] for line in lines]
    assert stages == ["vision", "memory", *["controller"] * 2] * 2
    assert [line["vision/step"] for line in lines if "vision/step" in line] == [4, 2]
    assert {"validation_error", "validation_kl", "active_units"} <= {key.partition("/")[2] for key in lines[0]}
    assert "memory/validation_nll" in lines[1] and "controller/held_out_mean" in lines[2]
    assert [agent._earlier_steps(4) for agent.iteration in (0, 1, 2)] == [0, 4, 6]


@pytest.mark.parametrize("seed", [3, None])
def test_stages_have_the_agents_seed(seed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def recorded(stage: Stage, *args: Any, **kwargs: Any) -> list[dict[str, float]]:
        seeds.append((stage.name, kwargs["seed"]))
        return [{"step": 0.0}]

    agent = model(tmp_path, seed=seed)
    agent.collect()
    for stage in (VisionStage, MemoryStage):
        monkeypatch.setattr(stage, "__call__", recorded)
    agent.train_vision()
    agent.train_memory()
    assert seeds == [("vision", seed or 0), ("memory", seed or 0)]


def test_searches_have_seeds_of_their_own(tmp_path: Path) -> None:
    """Those of all rounds and models differ. Without a seed it is 0."""
    searches = []
    for seed in (0, 1, 2):
        agent = model(tmp_path, seed=seed)
        for agent.iteration in (0, 1):
            searches.append(agent._search_seed())
    assert len(set(searches)) == 6
    assert model(tmp_path, seed=None)._search_seed() == searches[0]


@pytest.mark.parametrize("end_at", [5, 11])
def test_ended_by_a_callback_and_gone_on_with(end_at: int, tmp_path: Path) -> None:
    """In the collection or in the search; another object with the same settings continues."""
    whole = model(tmp_path / "whole").learn(150)
    ended = model(tmp_path / "parts").learn(150, Counter(end_at))
    assert ended.iteration == 0 and ended.num_timesteps < whole.num_timesteps
    again = model(tmp_path / "parts").learn(150)
    assert again.num_timesteps == whole.num_timesteps
    for a, b in zip(parameters(whole), parameters(again), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_stages_one_by_one(tmp_path: Path) -> None:
    """Called without ``learn``, each by another object, they give the same parameters."""
    whole = model(tmp_path / "whole").learn(150)
    assert model(tmp_path / "stages").collect()
    rows = model(tmp_path / "stages").train_vision()
    assert rows[-1]["step"] == 4
    last = model(tmp_path / "stages")
    last.collect()
    assert last.train_vision() == rows and last.train_memory()[-1]["step"] == 4
    evolution, over = last.evolve_controller(150)
    assert over and last.iteration == 1 and last.num_timesteps == whole.num_timesteps
    assert evolution.rows[-1]["generation"] == 2
    for a, b in zip(parameters(whole), parameters(last), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_steps_are_counted_once(tmp_path: Path) -> None:
    """This holds however often a stage is called, and in the call that completes an interrupted round."""
    agent = model(tmp_path / "stages")
    for _ in range(2):
        agent.collect()
        assert agent.num_timesteps == 40
    whole = model(tmp_path / "whole").learn(150)
    ended = model(tmp_path / "ended").learn(150, Counter(end_at=11))
    assert 40 < ended.num_timesteps < 150
    ended.save(tmp_path / "model")
    loaded = WorldModels.load(tmp_path / "model", env=gym.make("CarRacing-v3"), device="cpu")
    loaded.learn(150 - ended.num_timesteps, reset_num_timesteps=False)
    assert loaded.num_timesteps == whole.num_timesteps and loaded.iteration == 1
    loaded.collect()
    assert loaded.num_timesteps == whole.num_timesteps + 40


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Another one is refused by ``learn`` and by each stage, also from within a callback; afterwards it is not."""
    refused: list[str] = []

    def on_step(*_: Any) -> bool:
        other = copy.deepcopy(first)
        for method in (other.collect, other.train_vision, other.train_memory, lambda: other.evolve_controller(1)):
            with pytest.raises(FolderInUseError, match="another process is working in"):
                method()
        with pytest.raises(FolderInUseError):
            other.learn(1)
        refused.append("all")
        return False

    first = model(tmp_path / "one")
    first.learn(150, callback=on_step)
    assert refused == ["all"]
    with first.exclusive(), pytest.raises(FolderInUseError), model(tmp_path / "one").exclusive():
        pass
    first.save(tmp_path / "model")
    WorldModels.load(tmp_path / "model").collect()


def test_held_actions(tmp_path: Path) -> None:
    """Decisions are stored and played; environment steps are counted, and taken one by one."""
    agent = model(tmp_path, policy_kwargs={"action_repeat": 5}, n_iterations=2).learn(200)
    assert agent.store().lengths.tolist() == [2] * 8
    assert agent.num_timesteps == 2 * (40 + 20 + 50)
    agent.policy.controller_parameters.data.normal_(0, 1)
    agent.save(tmp_path / "model")
    official = gym.make("CarRacing-v3", max_episode_steps=STEPS)
    fast, loaded = make_repeating(make_env, 5), WorldModels.load(tmp_path / "model", device="cpu")
    _, lengths = evaluate_policy(loaded, official, n_eval_episodes=1, warn=False, return_episode_rewards=True)
    assert lengths == [STEPS]
    first, _ = official.reset(seed=5)
    frame, _ = fast.reset(seed=5)
    decided, state, start = [], None, np.ones(1, bool)
    for _ in range(STEPS // 5):
        action, state = agent.policy.decide(frame[None], state, start, True)
        frame, start = fast.step(action[0])[0], np.zeros(1, bool)
        decided.append(action[0])
    executed, held, observation, start = [], None, first, np.ones(1, bool)
    for _ in range(STEPS):
        action, held = loaded.predict(observation, held, start, deterministic=True)
        observation, start = official.step(action)[0], np.zeros(1, bool)
        executed.append(action)
    np.testing.assert_allclose(executed, np.repeat(decided, 5, axis=0), atol=1e-6)
    np.testing.assert_array_equal(observation, frame)
    assert not np.allclose(decided[0], decided[1])


@pytest.mark.parametrize("n_workers", [0, 1])
def test_search_in_the_dream(n_workers: int, tmp_path: Path) -> None:
    """It takes the requested number of generations, and none of its steps counts as an environment step."""
    search = {"n_generations": 2, "temperature": 1.2}
    agent = model(tmp_path, search="dream", search_kwargs=search, n_workers=n_workers)
    agent.collect()
    agent.train_vision()
    agent.train_memory()
    evolution, over = agent.evolve_controller(1)
    assert over and agent.num_timesteps == 40 and evolution.rows[-1]["generation"] == 2
    # Two held-out dreams first, then three candidates and two held-out ones, none longer than an episode
    longest = gym.spec("CarRacing-v3").max_episode_steps or 0
    assert evolution.rows[-1]["n_held_out_steps"] <= 6 * longest and evolution.rows[-1]["n_steps"] <= 6 * longest


@pytest.mark.parametrize(
    ("env", "action_repeat", "max_steps"),
    [
        ({"env": gym.make("CarRacing-v3", max_episode_steps=STEPS)}, 3, 4),
        ({"env": ActionRepeat(gym.make("CarRacing-v3", max_episode_steps=STEPS), 4)}, 1, 3),
        (TOY, 3, 334),
    ],
)
def test_longest_dream(
    env: dict[str, Any], action_repeat: int, max_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many decisions as the environment's time limit allows, or 1000 steps if it has none."""
    made: list[int] = []

    def recorded(dream: Dream, longest: int, n_workers: int) -> Evaluator:
        made.append(longest)
        return make_dream_evaluator(dream, 1, n_workers)

    monkeypatch.setattr("ardae_rl.world_models.world_models.make_dream_evaluator", recorded)
    agent = model(tmp_path, search="dream", policy_kwargs={"action_repeat": action_repeat}, **env)
    agent.collect()
    agent.train_vision()
    agent.train_memory()
    agent.evolve_controller(1)
    assert made == [max_steps]


def test_search_ends_when_the_steps_are_used_up(tmp_path: Path) -> None:
    """Exactly then: 4 episodes of 5 steps, 2 held-out ones, and in a generation 3 candidates and 2 held-out ones."""
    for steps, generations in ((54, 1), (55, 1), (56, 2)):
        agent = model(tmp_path / str(steps), **TOY).learn(steps)
        rows = read_csv(tmp_path / str(steps) / "round_0" / "controller.csv")
        assert agent.num_timesteps == 20 + 10 + 25 * generations and float(rows[-1]["generation"]) == generations


def test_patience_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PPO's environments have a patience of their own: it evaluates whole episodes."""
    given: list[int | None] = []

    def recorded(policy: Any, make_env: Any, n_envs: int, n_workers: int, patience: int | None) -> Evaluator:
        given.append(patience)
        return make_evaluator(policy, make_env, n_envs, n_workers, patience)

    monkeypatch.setattr("ardae_rl.world_models.world_models.make_evaluator", recorded)
    model(tmp_path / "search", search_kwargs={"patience": 3}, **TOY).learn(1)
    ppo = {"n_steps": 4, "n_held_out": 1, "n_tested": 1, "patience": 3}
    frames = {"controller_input": "frames", "z_dim": 4, "vision_width": 4}
    small = {name: value for name, value in SMALL.items() if name not in ("search_kwargs", "policy_kwargs", *TOY)}
    arguments: dict[str, Any] = small | TOY | {"search_kwargs": ppo, "policy_kwargs": frames}
    WorldModels("CnnPolicy", folder=tmp_path / "ppo", search="ppo", **arguments).learn(1)
    assert given == [3, None]


def test_weight_of_ends(tmp_path: Path) -> None:
    """The memory is trained with the given weight: each of these episodes has one end in five steps."""

    def entropy(done_factor: float) -> float:
        agent = WorldModels(
            "CnnPolicy",
            folder=tmp_path / str(done_factor),
            seed=0,
            n_episodes=2,
            vision_kwargs={"n_steps": 1},
            memory_kwargs={"n_steps": 1, "sequence_length": 5, "done_factor": done_factor},
            **TOY,
        )
        agent.collect()
        agent.train_vision()
        return agent.train_memory()[0]["done_entropy"]

    assert entropy(11.0) > 2 * entropy(1.0)


def test_missing_extra_is_reported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ImportError, match=r"cma is not installed; .*'ardae-rl\[world-models\]'"):
        model(tmp_path, **TOY).learn(10)
    assert not (tmp_path / "round_0").exists() and not (tmp_path / "frames").exists()


def test_temporary_folder(tmp_path: Path) -> None:
    """It is deleted with the object; a saved model continues in another one."""
    agent = model()
    folder = agent.folder
    agent.collect()
    agent.save(tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {"frames", ".lock"}
    del agent
    gc.collect()
    assert not folder.exists()
    loaded = WorldModels.load(tmp_path / "model", env=gym.make("CarRacing-v3"), device="cpu")
    loaded.collect()
    assert len(loaded.store()) == 4 and not folder.exists()


def test_transposed_environments(tmp_path: Path) -> None:
    """RL Zoo passes environments transposed."""
    vec_env = VecTransposeImage(DummyVecEnv([lambda: gym.make("CarRacing-v3", max_episode_steps=STEPS)]))
    agent = WorldModels("CnnPolicy", vec_env, tmp_path, policy_kwargs={"z_dim": 4, "vision_width": 4}, device="cpu")
    returns, _ = evaluate_policy(agent, vec_env, n_eval_episodes=1, warn=False)
    assert np.isfinite(returns)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"`memory_kwargs\['z_loss'\]` must be one of 'nll', 'bound', .* got 'mse'"):
        model(memory_kwargs={"z_loss": "mse"})
    with pytest.raises(ValueError, match="`search` must be one of 'environment', 'dream', 'ppo', got 'both'"):
        model(search="both")
    with pytest.raises(ValueError, match="`n_episodes` must be >= 1, got 0"):
        model(n_episodes=0)
    with pytest.raises(ValueError, match="`observation_space` must be uint8 frames"):
        WorldModels("CnnPolicy", "Pendulum-v1")
    with pytest.raises(ValueError, match=r"`policy_kwargs\['n_components'\]` must be 1 for 'gaussian_kl', got 5"):
        model(memory_kwargs={"z_loss": "gaussian_kl"})
    with pytest.raises(ValueError, match=r"`search_kwargs\['n_held_out'\]` must be between 1 and 10000, got 10001"):
        model(search_kwargs={"n_held_out": 10_001})
    with pytest.raises(TypeError, match="`search_kwargs` must be a dictionary, got 3"):
        WorldModels("CnnPolicy", "CarRacing-v3", search_kwargs=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`policy_kwargs` must be a dictionary, got 3"):
        WorldModels("CnnPolicy", "CarRacing-v3", policy_kwargs=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`policy` must be 'CnnPolicy' or a class, got 3"):
        WorldModels(3, "CarRacing-v3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`cropped_rows` must be an integer, got 1\.5"):
        model(policy_kwargs={"cropped_rows": 1.5})
    with pytest.raises(ValueError, match="`collection_env` must be registered with Gymnasium, got 'Foo-v0'"):
        model(collection_env="Foo-v0").learn(1)
    with pytest.raises(ValueError, match=r"`vision_kwargs` must only have the keys 'n_steps', .* got 'steps'"):
        model(vision_kwargs={"steps": 3})


@pytest.mark.parametrize("stage", [VisionStage, MemoryStage, SearchStage, PPOStage])
def test_text_is_no_number(stage: type[Stage]) -> None:
    """What YAML reads as text, such as 1e-4, is refused before any work is done."""
    search = "ppo" if stage is PPOStage else "environment"
    for field in fields(stage):  # type: ignore[arg-type]
        if field.name in ("z_loss", "bonus_info"):
            continue
        kind = "True or False" if isinstance(field.default, bool) else "a number"
        expected = rf"`{stage.argument}\['{field.name}'\]` must be {kind}, got '1e-4'"
        arguments: dict[str, Any] = {stage.argument: {field.name: "1e-4"}}
        with pytest.raises(TypeError, match=expected):
            WorldModels("CnnPolicy", None, search=search, **arguments)
