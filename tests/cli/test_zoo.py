"""RL Zoo with our algorithms: names, search spaces, hyper-parameter files, the choice of a run, options."""

import inspect
from pathlib import Path

import gymnasium as gym
import optuna
import pytest
import yaml
from stable_baselines3 import SAC

from ardae_rl import presets
from ardae_rl.cli import zoo
from ardae_rl.cli.zoo_checks import check_hyperparameters, check_numbers
from ardae_rl.cli.zoo_options import has_option, literal_hyperparameters, option_values
from ardae_rl.evaluation import playback_class
from ardae_rl.irl import collect_demonstrations, save_trajectories
from ardae_rl.registry import OUR_ALGORITHMS, STOCK_ALGORITHMS, algorithm_class, environment_id
from tests.conftest import untrained

TUNED = [name for name, algorithm in OUR_ALGORITHMS.items() if algorithm.search_space is not None]

RL_ZOO_KEYS = {
    "n_timesteps",
    "policy",
    "n_envs",
    "env_kwargs",
    "normalize",
    "frame_stack",
    "env_wrapper",
    "callback",
    "policy_kwargs",
}


def test_names_are_those_of_rl_zoo() -> None:
    from rl_zoo3.utils import ALGOS

    stock = {name: algorithm for name, algorithm in ALGOS.items() if name not in OUR_ALGORITHMS}
    assert {name: algorithm_class(name) for name in STOCK_ALGORITHMS} == stock


@pytest.mark.parametrize("algo", OUR_ALGORITHMS)
def test_registration(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import rl_zoo3.hyperparams_opt as hyperparams_opt
    import rl_zoo3.utils as utils

    monkeypatch.setattr(utils, "ALGOS", dict(utils.ALGOS))
    zoo.register()
    assert utils.ALGOS[algo] is algorithm_class(algo)
    tuned = hyperparams_opt.HYPERPARAMS_SAMPLER.keys() & hyperparams_opt.HYPERPARAMS_CONVERTER.keys()
    assert (algo in tuned) is (algo in TUNED)


@pytest.mark.parametrize("algo", [*TUNED, "sac", "crossq", "ppo"])
def test_playback_takes_no_replay_memory(algo: str, tmp_path: Path) -> None:
    algorithm = algorithm_class(algo)
    untrained(algo).save(tmp_path / "m")
    loaded = playback_class(algorithm).load(tmp_path / "m")
    assert isinstance(loaded, algorithm)
    assert getattr(loaded, "buffer_size", 1) == 1


@pytest.mark.parametrize("algo", TUNED)
@pytest.mark.parametrize("n_actions", [1, 6])
def test_sampler_yields_constructor_arguments(algo: str, n_actions: int) -> None:
    """Every trial builds a model, and a stored trial converts to the same arguments."""
    zoo.register()
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

    accepted = inspect.signature(algorithm_class(algo)).parameters.keys()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        trial = study.ask()
        sampled = HYPERPARAMS_SAMPLER[algo](trial, n_actions, 1, {"using_her_replay_buffer": False, "her_kwargs": {}})
        assert sampled.keys() <= accepted
        assert sampled["policy_kwargs"].get("noise_dim", n_actions) >= n_actions
        assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled
        assert {"gamma", "batch_size"} <= trial.user_attrs.keys()
        assert trial.user_attrs == {name: sampled[name] for name in trial.user_attrs}
    env = {1: "Pendulum-v1", 6: "HalfCheetah-v5"}[n_actions]
    algorithm_class(algo)(env=env, policy="MlpPolicy", **{**sampled, "buffer_size": 10})


def _parameters(cls: type) -> set[str]:
    """Return the names of a constructor's arguments, with those of its base class if it passes others on."""
    parameters = inspect.signature(cls).parameters
    others = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return set(parameters) | (_parameters(cls.__mro__[1]) if others else set())


@pytest.mark.parametrize("path", sorted(presets.config_dir().glob("*.yml")), ids=lambda path: path.stem)
def test_hyperparameter_files(path: Path) -> None:
    """Each block is for a registered environment and has arguments that the algorithm accepts."""
    algo = presets.owner(path)
    assert algo is not None
    accepted = RL_ZOO_KEYS | _parameters(algorithm_class(algo))
    blocks = yaml.safe_load(path.read_text())
    for env_id, block in blocks.items():
        assert env_id == "default" or environment_id(env_id) in gym.registry
        assert block.keys() <= accepted, (env_id, block.keys() - accepted)
        assert {"n_timesteps", "policy"} <= block.keys()


@pytest.mark.parametrize("algo", TUNED)
def test_default_file_covers_the_benchmarks(algo: str) -> None:
    names = ("Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid")
    blocks = yaml.safe_load(presets.config_file(algo).read_text())
    assert {f"{name}-v5" for name in names} | {"default", "Pendulum-v1", "ardae/MultiGoal-v0"} <= blocks.keys()


def make_run(folder: Path, number: int, *files: str) -> None:
    run = folder / f"sac/ardae-MultiGoal-v0_{number}"
    run.mkdir(parents=True)
    for name in files:
        (run / name).touch()


def test_newest_run_that_has_the_model(tmp_path: Path) -> None:
    make_run(tmp_path, 2, "ardae-MultiGoal-v0.zip")
    make_run(tmp_path, 10, "ardae-MultiGoal-v0.zip", "rl_model_500_steps.zip")
    make_run(tmp_path, 11, "best_model.zip")
    make_run(tmp_path, 12)

    def find(exp_id: int, *arguments: str) -> int:
        return zoo.find_run(tmp_path, "sac", "ardae/MultiGoal-v0", exp_id, list(arguments))

    assert find(0) == 10
    assert find(2) == 2
    assert find(0, "--load-best") == 11
    assert find(0, "--load-checkpoint", "500") == 10
    assert find(0, "--load-last-checkpoint") == 10
    with pytest.raises(ValueError, match=r"`exp_id` must be one of 2, 10, got 12"):
        find(12)
    with pytest.raises(ValueError, match=r"`folder` must hold a trained model.*no rl_model_7_steps\.zip"):
        find(0, "--load-checkpoint=7")


def test_folders_of_runs(tmp_path: Path) -> None:
    names = [f"Pendulum-v1_{end}" for end in ("1", "12_0b8e9f1c-1d2e-4f3a-8b4c-5d6e7f809112", "old", "2_old")]
    for name in (*names, "Pendulum-v10_1"):
        (tmp_path / "sac" / name).mkdir(parents=True)
    assert zoo.run_folders(tmp_path, "sac", "Pendulum-v1") == {tmp_path / "sac" / name for name in names[:2]}


@pytest.mark.parametrize(("algo", "loses"), [("sac_nf", True), ("airl", True), ("ppo", False)])
def test_notice_of_a_lost_replay_buffer(tmp_path: Path, algo: str, loses: bool) -> None:
    arguments = ["-n", "100", "-i", str(tmp_path / "rl_model_20_steps.zip")]
    assert zoo.lost_buffer(algo, ["-n", "100"]) is None
    notice = f"{tmp_path / 'replay_buffer.pkl'} does not exist: training continues without earlier transitions"
    assert zoo.lost_buffer(algo, arguments) == (notice if loses else None)
    (tmp_path / "replay_buffer.pkl").touch()
    assert zoo.lost_buffer(algo, arguments) is None


def test_environment_with_its_module() -> None:
    assert environment_id("ardae_envs:ardae/MultiGoal-v0") == "ardae/MultiGoal-v0"


def test_options_among_arguments() -> None:
    arguments = ["-n", "5", "--gym-packages", "a", "b", "-conf=x.yml", "--load-checkpoint=7"]
    assert option_values(arguments, "--gym-packages") == ["a", "b"]
    assert option_values(arguments, "--load-checkpoint") == ["7"]
    assert option_values(arguments, "--seed") == []
    assert option_values(["-f", "a", "--log-folder=b"], "-f", "--log-folder") == ["b"], "the last one counts"
    assert has_option(arguments, "-conf", "--conf-file") and not has_option(arguments, "--conf-file")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["-params", "d:1"]),
        (["-params", "a:1", "-n", "5"], ["-params", "d:1", "a:1", "-n", "5"]),
        (["--hyperparams", "a:1"], ["--hyperparams", "d:1", "a:1"]),
        (["-params=a:1"], ["-params", "d:1", "a:1"]),
    ],
)
def test_a_hyperparameter_is_added_to_those_of_the_user(before: list[str], after: list[str]) -> None:
    """A second such option would replace the user's."""
    zoo.add_hyperparameter(before, "d:1")
    assert before == after


def test_demonstrations_without_absorbing_states(tmp_path: Path) -> None:
    """They fit an environment that has them, as they do in Python."""
    demos = collect_demonstrations(SAC("MlpPolicy", "Hopper-v5", buffer_size=10), gym.make("Hopper-v5"), 1)
    save_trajectories(tmp_path / "demos.npz", demos)
    arguments: list[str] = []
    zoo.add_demonstrations("gail", str(tmp_path / "demos.npz"), arguments, "ardae/HopperAbsorbing-v5")
    assert arguments[0] == "-params"
    with pytest.raises(ValueError, match="must have rows of shape"):
        zoo.add_demonstrations("gail", str(tmp_path / "demos.npz"), [], "HalfCheetah-v5")


@pytest.mark.parametrize("option", ["-params", "--hyperparams"])
def test_demonstrations_among_the_hyperparameters(option: str) -> None:
    arguments = [option, "demonstrations:'d.npz'"]
    zoo.add_demonstrations("airl", None, arguments)
    assert arguments == [option, "demonstrations:'d.npz'"]


def test_hyperparameters_that_are_literals() -> None:
    arguments = ["-n", "5", "-params", "a: 1", "b:dict(c=1)", "c:-1e-3", "d:'x:y'", "e:auto", "-f", "logs"]
    assert literal_hyperparameters(arguments) == {"a": 1, "c": -1e-3, "d": "x:y"}
    assert literal_hyperparameters(["-f", "logs"]) == {}


@pytest.mark.parametrize("algo", [*OUR_ALGORITHMS, *STOCK_ALGORITHMS])
def test_default_hyperparameters_pass_the_check(algo: str) -> None:
    """Nothing that works is refused: the defaults of each constructor, and numbers of the usual kinds."""
    parameters = inspect.signature(algorithm_class(algo)).parameters.values()
    defaults = [
        f"{parameter.name}:{parameter.default!r}" for parameter in parameters if parameter.default is not inspect._empty
    ]
    check_hyperparameters(
        algo, ["-params", *defaults, "n_envs:4", "n_timesteps:1e5", "gradient_steps:-1", "frame_stack:None"]
    )


def test_numbers_that_rl_zoo_interprets() -> None:
    """Negative ones have a meaning, and what is no number is left to RL Zoo's parser."""
    arguments = ["--log-interval", "-1", "--log-interval=-2", "--n-jobs", "-1", "--eval-freq", "-1", "-n", "many"]
    check_numbers([*arguments, "--eval-freq=0", "--n-envs", "2", "-n"])


def test_a_database_of_a_search(tmp_path: Path) -> None:
    arguments = ["-optimize", "--storage", f"sqlite:///{tmp_path}/study.db"]
    zoo.check_arguments("sac", arguments, "Pendulum-v1")
    assert (tmp_path / "study.db").is_file()
    zoo.check_arguments("sac", ["-optimize", f"--storage={tmp_path}/study.log"], "Pendulum-v1")
    zoo.check_arguments("sac", ["--storage", "nonsense"], "Pendulum-v1")  # RL Zoo does not use it
