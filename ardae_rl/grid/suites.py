"""What a benchmark compares: environments, algorithms and their variants, and the settings that all runs share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.registry import algorithm_class, environment_id

SUITES = {
    "mujoco": ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5"),
    "multigoal": ("ardae/MultiGoal-v0",),
    "classic": ("Pendulum-v1", "MountainCarContinuous-v0"),
}
OFF_POLICY = ("sac", "sac_nf", "sac_ardae", "tqc", "crossq")
DEFAULT_ALGORITHMS = ("sac", "sac_nf", "sac_ardae")
# Random steps before training; shorter runs take a tenth of their steps
_MAX_LEARNING_STARTS = 10_000


@dataclass(frozen=True)
class Variant:
    """An algorithm whose arguments differ from the defaults.

    Example:

    >>> from ardae_rl.grid.suites import Variant
    >>> many_bases = Variant("sac_ardae", {"policy_kwargs": {"frame": "sigma_points", "n_bases": 4}})

    :param algorithm: Name of the algorithm.
    :param arguments: Arguments of its constructor.
    :param policy: Name of its policy, or ``module:Class``.
    """

    algorithm: str
    arguments: dict[str, Any] = field(default_factory=dict)
    policy: str = "MlpPolicy"


def _with_critic(algorithm: str, critic: str) -> Variant:
    policy_kwargs: dict[str, Any] = {"policy_kwargs": {"critic": critic}}
    # CrossQ's own rate: updated at every third step, the policy moves about as fast as at every step with 3e-4
    arguments = policy_kwargs | ({"learning_rate": 1e-3} if critic == "crossq" else {})
    return Variant(algorithm, arguments)


VARIANTS = {
    **{name: Variant(name) for name in OFF_POLICY},
    "sac_ardae-unclamped": Variant("sac_ardae", {"clamping_kwargs": {"eta": 0}}),
    "sac_ardae-bases4": Variant("sac_ardae", {"policy_kwargs": {"frame": "sigma_points", "n_bases": 4}}),
    "sac_ardae-distance": Variant("sac_ardae", {"policy_kwargs": {"entropy": "distance"}}),
    "sac_ardae-distance-crossq": Variant(
        "sac_ardae", {"policy_kwargs": {"entropy": "distance", "critic": "crossq"}, "learning_rate": 1e-3}
    ),
    **{
        f"{label}-{critic}": _with_critic(algorithm, critic)
        for label, algorithm in (("sac", "sac_gaussian"), ("sac_nf", "sac_nf"), ("sac_ardae", "sac_ardae"))
        for critic in ("simba", "crossq")
    },
    "tqc-simba": Variant("tqc", {"policy_kwargs": {"critic": "simba"}}, "ardae_rl.common.critics.tqc:TQCPolicy"),
}


def grid(
    envs: Sequence[str], algos: Sequence[str], n_seeds: int, steps: int, eval_freq: int, eval_episodes: int
) -> list[dict[str, Any]]:
    """Return the settings of the runs, seed by seed, so that an interrupted grid contains complete comparisons.

    Each algorithm keeps its constructor's defaults, except for the number of random steps at the start.

    :param envs: Ids of environments, perhaps of the form ``module:Id-v0``.
    :param algos: Names in ``VARIANTS``.
    :param n_seeds: Number of seeds: 0, 1, ...
    :param steps: Environment steps per run, a multiple of ``eval_freq``.
    :param eval_freq: Environment steps between evaluations.
    :param eval_episodes: Episodes per evaluation.
    :raises ValueError: For an unknown, missing or repeated name, or a number out of range.
    :raises ImportError: For an algorithm of sb3-contrib if that is not installed.
    """
    for argument, given in {"envs": envs, "algos": algos}.items():
        if not given or len(set(given)) < len(given):
            raise ValueError(f"`{argument}` must be one or more different names, got {', '.join(given)!r}")
    for algo in algos:
        check_choice("algos", algo, tuple(VARIANTS))
        algorithm_class(VARIANTS[algo].algorithm)
    for env in envs:
        try:
            environment_id(env)
        except ValueError as error:
            raise ValueError(str(error).replace("`env_id`", "`envs`")) from error
    for name, value in {"n_seeds": n_seeds, "eval_freq": eval_freq, "eval_episodes": eval_episodes}.items():
        check_count(name, value)
    if steps < eval_freq or steps % eval_freq:
        raise ValueError(f"`steps` must be a multiple of `eval_freq`, {eval_freq}, got {steps}")
    common = {"steps": steps, "eval_freq": eval_freq, "eval_episodes": eval_episodes}
    return [
        {"name": f"{env} {algo} {seed}", "env": env, "algo": algo, "seed": seed} | common | _model(algo, steps)
        for seed in range(n_seeds)
        for env in envs
        for algo in algos
    ]


def _model(algo: str, steps: int) -> dict[str, Any]:
    variant = VARIANTS[algo]
    arguments = {"learning_starts": min(_MAX_LEARNING_STARTS, steps // 10), "buffer_size": min(steps, 1_000_000)}
    return {"algorithm": variant.algorithm, "policy": variant.policy, "arguments": arguments | variant.arguments}
