"""A folder is resumed only with the settings that it was made with, and then as if not interrupted."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch as th

from ardae_envs import car_racing_fast
from ardae_rl import WorldModels
from ardae_rl.environments import EnvDescription
from ardae_rl.runs.run import Run
from ardae_rl.world_models.environments import env_identity, env_maker
from ardae_rl.world_models.fitting import fit
from ardae_rl.world_models.memory_stage import MemoryStage
from ardae_rl.world_models.resume import check_settings
from ardae_rl.world_models.search_stage import SearchStage
from ardae_rl.world_models.stage import Stage
from ardae_rl.world_models.vision_stage import VisionStage
from tests.world_models.brightness import Brightness
from tests.world_models.test_world_models import Counter, make_env, model, parameters

FIELDS = [(stage, field.name) for stage in (VisionStage, MemoryStage, SearchStage) for field in fields(stage)]


def other_env() -> gym.Env[Any, Any]:
    return make_env()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    model(folder).learn(1)
    return folder


def changed(stage: Stage, field: str) -> Any:
    """Return another valid value of a field."""
    value = getattr(stage, field)
    return "bound" if isinstance(value, str) else value + 1


@pytest.mark.parametrize(("stage", "field"), FIELDS)
def test_other_fields_are_refused(stage: type[Stage], field: str, finished: Path) -> None:
    """Change each field of each stage, one at a time."""
    before: Any = getattr(model(finished), f"{'search' if stage is SearchStage else stage.name}_stage")
    new = changed(before, field)
    assert replace(before, **{field: new}) != before
    message = rf"`{stage.argument}\['{field}'\]` must be {getattr(before, field)!r}, as recorded in .*round_0, got"
    with pytest.raises(ValueError, match=message):
        model(finished, **{stage.argument: {field: new}}).learn(1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1),
        ("env", gym.make("CarRacing-v3", max_episode_steps=30)),
        ("env", gym.make("CarRacing-v3", lap_complete_percent=0.5)),
        ("collection_env", other_env),
        ("search_env", other_env),
        ("search_env", partial(gym.make, "ardae/CarRacingFast-v0", max_episode_steps=11)),
        ("n_episodes", 5),
        ("search", "dream"),
        ("policy_kwargs", {"z_dim": 5}),
        ("policy_kwargs", {"free_nats": 0.25}),
    ],
)
def test_other_arguments_are_refused(name: str, value: Any, finished: Path) -> None:
    key = rf"\['{next(iter(value))}'\]" if isinstance(value, dict) else r"(\[.*\])?"
    with pytest.raises(ValueError, match=rf"`{name}{key}` must be .*, as recorded in .*(round_0|frames), got"):
        model(finished, **{name: value}).learn(1)


def test_what_may_differ(finished: Path, tmp_path: Path) -> None:
    """The number of processes and of parallel environments does not change what was computed."""
    shutil.copytree(finished, tmp_path / "run")
    again = model(tmp_path / "run", n_envs=3, n_workers=1).learn(60)
    same = model(tmp_path / "run")
    same.learn(60)
    for a, b in zip(parameters(again), parameters(same), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_checkpoints_without_a_record_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vision.pt").touch()
    with pytest.raises(ValueError, match=r"`folder` must have a record of the settings of .*vision.pt, got no file"):
        check_settings(tmp_path, "vision", {"seed": 0})
    agent = model(tmp_path / "run")
    agent.collect()
    next((tmp_path / "run/frames").glob("*settings.json")).unlink()
    with pytest.raises(ValueError, match="`folder` must have a record of its episodes' settings, got none in"):
        agent.collect()


@pytest.mark.parametrize("content", [b"", b'{"seed": 0, "e', b"null", b"\xff\xfe"])
@pytest.mark.parametrize(
    "name",
    [
        "frames/header.json",
        "frames/00000.json",
        "frames/collection_0_settings.json",
        "round_0/vision_settings.json",
        "round_0/memory_settings.json",
        "round_0/latents/header.json",
    ],
)
def test_damaged_files_are_named(name: str, content: bytes, finished: Path, tmp_path: Path) -> None:
    """A crash of the machine can leave empty ones."""
    damaged = tmp_path / "run" / name
    shutil.copytree(finished, tmp_path / "run")
    damaged.write_bytes(content)
    message = (
        f"`folder` must have intact files, got a damaged {damaged}; restore it, or delete {damaged.parent} to start"
    )
    with pytest.raises(ValueError, match=message):
        model(tmp_path / "run").learn(1)


def test_folders_of_another_version_are_refused(tmp_path: Path) -> None:
    """Episodes with seeds that a record does not name may be those of an evaluation."""
    agent = model(tmp_path)
    agent.collect()
    record = tmp_path / "frames/collection_0_settings.json"
    settings = json.loads(record.read_text())
    del settings["first_collection_seed"]
    record.write_text(json.dumps(settings))
    message = "`folder` must be new, or made by this version of ardae-rl, got .*frames, made by another version, which "
    with pytest.raises(ValueError, match=f"{message}did not record first_collection_seed; delete it or choose another"):
        agent.collect()


def test_identities_of_environments() -> None:
    """Ids, arguments and limits identify registered environments; names and arguments identify functions."""
    whole, half = (EnvDescription.of_env(gym.make("CarRacing-v3", lap_complete_percent=part)) for part in (0.95, 0.5))
    assert whole is not None and half is not None
    makers: list[Callable[..., Any]] = [make_env, other_env, Brightness, partial(gym.make, "a"), partial(gym.make, "b")]
    envs: list[Any] = [whole, half, "CarRacing-v3", *makers]
    identities = [env_identity(env) for env in envs]
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    assert env_identity(partial(gym.make, "a")) == env_identity(partial(gym.make, "a"))
    assert env_identity(make_env) == "tests.world_models.test_world_models.make_env"


def test_given_arguments_and_limits_are_kept(tmp_path: Path) -> None:
    """Collection and search use new instances of the algorithm's environment, in the faster variant."""
    env = gym.make("CarRacing-v3", lap_complete_percent=0.5, domain_randomize=True, max_episode_steps=7)
    agent = model(tmp_path, env=env, collection_env=None, search_env=None, n_episodes=2)
    agent.collect()
    assert agent.store().lengths.tolist() == [7, 7]
    for source, name in ((agent._collection_env(), "CarRacingFastRandomStart"), (agent._search_env(), "CarRacingFast")):
        made = pickle.loads(pickle.dumps(env_maker(source, 1)))()
        assert type(made.unwrapped).__name__ == name
        assert made.unwrapped.lap_complete_percent == 0.5 and made.unwrapped.domain_randomize
    agent.save(tmp_path / "model")
    loaded = WorldModels.load(tmp_path / "model", device="cpu")
    assert loaded.env_description is not None and loaded.env_description.max_episode_steps == 7
    with pytest.raises(ValueError, match=r"`env\['kwargs'\]\['lap_complete_percent'\]` must be 0\.5"):
        model(tmp_path, collection_env=None, search_env=None, n_episodes=2).collect()


@pytest.mark.parametrize("package", ["gymnasium", "pygame", "Box2D"])
def test_an_unknown_renderer_falls_back(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other versions of these packages the official renderer is used, with a warning."""
    monkeypatch.setattr(car_racing_fast, f"VERIFIED_{package.upper()}", ("0.9",))
    agent = model(tmp_path, collection_env=None, search_env=None)
    with pytest.warns(UserWarning, match=rf"slower official renderer: .* with {package} \S+ \(.* compared with 0\.9\)"):
        sources = agent._collection_env(), agent._search_env()
    names = [type(env_maker(source, 1)().unwrapped).__name__ for source in sources]
    assert names == ["CarRacingRandomStart", "CarRacing"]


class Negated(gym.RewardWrapper[Any, Any]):
    """Records no arguments."""

    def reward(self, reward: Any) -> Any:
        return -reward


def test_what_cannot_be_made_anew_is_refused(tmp_path: Path) -> None:
    agent = model(tmp_path, env=Negated(gym.make("CarRacing-v3")), collection_env=None)
    with pytest.raises(ValueError, match=r"`collection_env` must be given, got None; .* got Negated"):
        agent.collect()
    unregistered = WorldModels("CnnPolicy", Brightness(), tmp_path / "b")
    with pytest.raises(ValueError, match="`collection_env` must be given for an `env` that is not registered"):
        unregistered.collect()


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted training of two rounds, and the steps at each call of its callback."""
    calls = Counter()
    return model(tmp_path_factory.mktemp("whole"), n_iterations=2).learn(320, calls), calls.steps


def in_second_round(steps: list[int], stage: str) -> int:
    """Return the number of a callback's call in the second round's collection or search."""
    n_calls = len(steps) - 1
    second = next(i for i in range(n_calls, 0, -1) if steps[i] - steps[i - 1] < 20)  # the last step of a collection
    return second - 4 if stage == "collection" else second + 1


@pytest.mark.parametrize("stage", ["collection", "search"])
def test_an_interrupted_second_round(stage: str, two_rounds: Any, tmp_path: Path) -> None:
    """A new object, which starts with the first round, ends with the same steps and parameters."""
    whole, steps = two_rounds
    ended = model(tmp_path, n_iterations=2).learn(320, Counter(in_second_round(steps, stage)))
    assert ended.iteration == 1 and ended.num_timesteps < whole.num_timesteps
    if stage == "collection":
        assert 4 <= len(ended.store()) < 8
    again = model(tmp_path, n_iterations=2).learn(320)
    assert again.num_timesteps == whole.num_timesteps
    assert [len(again.store().first(n)) for n in (4, 8, 9)] == [4, 8, 8]
    for a, b in zip(parameters(whole), parameters(again), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


TOY: dict[str, Any] = {"env": Brightness(), "collection_env": Brightness, "search_env": Brightness, "n_iterations": 2}


@pytest.fixture(scope="module")
def two_toy_rounds(tmp_path_factory: pytest.TempPathFactory) -> WorldModels:
    return model(tmp_path_factory.mktemp("toy"), **TOY).learn(160)


@pytest.mark.parametrize("stage", ["vision", "memory"])
def test_an_interrupted_fit_of_a_second_round(
    stage: str, two_toy_rounds: WorldModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two gradient steps, the first of which is in a checkpoint."""

    def interrupted(fitted: th.nn.Module, loss: Any, run: Run, **settings: Any) -> Any:
        def stop(row: dict[str, float]) -> None:
            if run.folder.name == "round_1" and row["step"] == 2:
                raise KeyboardInterrupt

        return fit(fitted, loss, run, **(settings | {"every": 1, "on_row": stop}))

    with monkeypatch.context() as patch:
        patch.setattr(f"ardae_rl.world_models.{stage}_stage.fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model(tmp_path, **TOY).learn(160)
    assert th.load(tmp_path / f"round_1/{stage}.pt", weights_only=True)["step"] == 1
    assert (tmp_path / "round_1/memory_settings.json").exists() == (stage == "memory")
    again = model(tmp_path, **TOY).learn(160)
    assert again.num_timesteps == two_toy_rounds.num_timesteps and again.iteration == 2
    for a, b in zip(parameters(two_toy_rounds), parameters(again), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_more_episodes_than_the_rounds_before(tmp_path: Path) -> None:
    """A later round does not use episodes that were played before its controller existed."""
    agent = model(tmp_path).learn(1)
    model(tmp_path, n_episodes=5).collect()
    with pytest.raises(ValueError, match="`n_episodes` must be 5, because the previous rounds left 5 episodes in"):
        agent.collect()
