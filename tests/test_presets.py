"""The hyper-parameter files: RL Zoo and we read the same arguments, and assignments override them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch as th
import yaml
from gymnasium.envs.registration import EnvSpec

from ardae_rl import presets
from ardae_rl.cli import zoo
from ardae_rl.registry import algorithm_class, environment_id

BLOCKS = [
    (path, env_id)
    for path in sorted(presets.config_dir().glob("*.yml"))
    for env_id in yaml.safe_load(path.read_text())
    if env_id != "default" or path.stem == presets.owner(path)
]


def plain(value: Any) -> Any:
    """Return a value that can be compared, with schedules replaced by their values."""
    if callable(value) and not isinstance(value, type):
        return [value(progress) for progress in (1.0, 0.5, 0.0)]
    return {name: plain(part) for name, part in value.items()} if isinstance(value, dict) else value


def zoo_arguments(algo: str, env_id: str, path: Path, tmp_path: Path) -> tuple[dict[str, Any], int]:
    """Return what RL Zoo passes to the constructor, and its number of steps."""
    from rl_zoo3.exp_manager import ExperimentManager

    manager = ExperimentManager(None, algo, env_id, str(tmp_path), config=str(path), verbose=0)
    arguments, *_ = manager._preprocess_hyperparams(manager.read_hyperparameters()[0])
    return arguments, manager.n_timesteps


@pytest.mark.filterwarnings("ignore:.*block 'default'")
@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=lambda value: getattr(value, "stem", value))
def test_read_as_rl_zoo_does(path: Path, block: str, tmp_path: Path) -> None:
    algo = presets.owner(path)
    assert algo is not None
    env_id = environment_id("Acrobot-v1" if block == "default" else block)
    preset = path.stem.removeprefix(algo).removeprefix("_") or None
    ours, n_timesteps = presets.constructor_arguments(algo, env_id, preset)
    theirs, their_timesteps = zoo_arguments(algo, env_id, path, tmp_path)
    for name in ("learning_rate", "clip_range"):  # RL Zoo turns numbers into constant schedules
        if isinstance(ours.get(name), float):
            theirs[name] = theirs[name](1.0)
    assert plain(ours) == plain(theirs)
    assert n_timesteps == their_timesteps


@pytest.mark.parametrize("env_id", ["Hopper-v5", "HalfCheetah-v5"])
def test_preset_of_the_paper_makes_a_model(env_id: str) -> None:
    arguments, _ = presets.constructor_arguments("sac_ardae", env_id, "paper")
    model = algorithm_class("sac_ardae")(env=gym.make(env_id), **{**arguments, "buffer_size": 10})
    generator = model.policy.get_submodule("actor.generator")
    assert any(isinstance(layer, th.nn.ELU) for layer in generator.modules())


def test_falling_back_to_default_warns() -> None:
    with pytest.warns(UserWarning, match=r"airl\.yml: no block 'Acrobot-v1'; hyper-parameters of block 'default'"):
        _, n_timesteps = presets.constructor_arguments("airl", "Acrobot-v1")
    assert n_timesteps == 100_000


def test_notice_says_which_block() -> None:
    sac = presets.config_file("sac")
    assert presets.used_block(sac, "Pendulum-v1") == "sac.yml: hyper-parameters of block 'Pendulum-v1'"
    notice = presets.used_block(sac, "Hopper-v5")
    assert "no block 'Hopper-v5' (it has Hopper-v4)" in notice and "'default'" in notice
    assert "\n" not in notice


def test_games_have_a_block_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for env_id, entry_point in {"Pong-v9": "ale_py.env:AtariEnv", "Walk-v9": "walk:WalkEnv"}.items():
        monkeypatch.setitem(gym.registry, env_id, EnvSpec(env_id, entry_point))
    ppo = presets.config_file("ppo")
    assert presets.used_block(ppo, "Pong-v9") == "ppo.yml: no block 'Pong-v9'; hyper-parameters of block 'atari'"
    with pytest.warns(UserWarning, match="hyper-parameters of block 'atari'"):
        _, n_timesteps = presets.constructor_arguments("ppo", "Pong-v9")
    assert n_timesteps == 10_000_000
    assert presets.used_block(ppo, "Walk-v9").endswith("hyper-parameters of block 'default'")


def test_the_number_of_steps_is_looked_for_in_the_block_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gym.registry, "Pong-v9", EnvSpec("Pong-v9", "ale_py.env:AtariEnv"))
    config = tmp_path / "mine.yml"
    config.write_text("atari:\n  n_timesteps: 9\ndefault:\n  policy: MlpPolicy\n")
    zoo.check_arguments("ppo", ["-conf", str(config)], "Pong-v9")
    with pytest.raises(ValueError, match=r"-conf must have n_timesteps for Walk-v9, got .*, which has policy"):
        zoo.check_arguments("ppo", ["-conf", str(config)], "Walk-v9")


def test_a_file_without_a_default() -> None:
    words = r"`env_id` must be one of HalfCheetah-v5, ardae/HopperAbsorbing-v5, .*, the blocks of gail_dac\.yml, got"
    with pytest.raises(ValueError, match=rf"{words} 'Pendulum-v1'"):
        presets.constructor_arguments("gail", "Pendulum-v1", "dac")


def in_file(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    (folder / "sac_nf_mine.yml").write_text(text)
    monkeypatch.setattr(presets, "config_dir", lambda: folder)
    return presets.constructor_arguments("sac_nf", "Pendulum-v1", "mine")


def test_forms_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "Pendulum-v1: {n_timesteps: 1e3, learning_rate: lin_3e-4, gamma: 9.9E-1, train_freq: [1, episode], n_envs: 2}"
    )
    arguments, n_timesteps = in_file(tmp_path, monkeypatch, text)
    assert plain(arguments["learning_rate"]) == pytest.approx([3e-4, 1.5e-4, 0])
    assert n_timesteps == 1000 and arguments["gamma"] == 0.99 and arguments["train_freq"] == (1, "episode")
    assert "n_envs" not in arguments


@pytest.mark.parametrize(
    "text", ["policy_kwargs: 'dict(net_arch=[8])'", "replay_buffer_class: HerReplayBuffer", "learning_rate: fast"]
)
def test_forms_that_are_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"a form that only RL Zoo reads|must be a number or have the form lin_3e-4"):
        in_file(tmp_path, monkeypatch, f"Pendulum-v1: {{n_timesteps: 10, {text}}}")


def test_assignments() -> None:
    arguments = {"policy": "MlpPolicy", "policy_kwargs": {"a": 1, "deep": {"b": 2, "c": 3}}}
    new = presets.overridden(arguments, ["policy_kwargs.deep.b=1e-4", "policy_kwargs={a: 5}", "patience=null", "d=x=y"])
    assert new == {
        "policy": "MlpPolicy",
        "policy_kwargs": {"a": 5, "deep": {"b": 1e-4, "c": 3}},
        "patience": None,
        "d": "x=y",
    }
    assert arguments["policy_kwargs"] == {"a": 1, "deep": {"b": 2, "c": 3}}


@pytest.mark.parametrize("assignment", ["sizes", "=3", "sizes=[1"])
def test_malformed_assignments(assignment: str) -> None:
    with pytest.raises(ValueError, match="`assignments` must have"):
        presets.overridden({}, [assignment])


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="`preset` must be None for td3, which has no presets, got 'paper'"):
        presets.config_file("td3", "paper")
    with pytest.raises(ValueError, match="`preset` must be one of 'paper', got 'fast'"):
        presets.config_file("sac_ardae", "fast")


@pytest.mark.parametrize("read", [lambda: presets.zoo_record("a: 1"), lambda: presets.overridden({}, ["a=1"])])
def test_without_yaml_the_extra_is_named(read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for loader in (presets._loader, presets.zoo_loader):
        loader.cache_clear()
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"yaml is not installed; .*'ardae-rl\[zoo\]'"):
        read()


def test_records_of_rl_zoo_create_no_objects() -> None:
    text = "a: !!python/tuple [1, 2]\nb: !!python/object/apply:os.getcwd []\nc: !!python/name:os.getcwd\n"
    assert presets.zoo_record(text) == {"a": (1, 2), "b": [], "c": None}
