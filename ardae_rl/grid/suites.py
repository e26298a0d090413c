"""What a benchmark compares: environments, algorithms and their variants, and the settings that all share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ardae_rl.common.checks import check_choice
from ardae_rl.common.critics import RESIDUAL_CRITICS
from ardae_rl.registry import algorithm_class, environment_id

SUITES = {
    "mujoco": ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5"),
    "multigoal": ("ardae/MultiGoal-v0",),
    "classic": ("Pendulum-v1", "MountainCarContinuous-v0"),
}
OFF_POLICY = ("sac", "sac_nf", "sac_ardae", "tqc", "crossq")
# The most random steps before training; short runs have a tenth of their steps
_LEARNING_STARTS = 10_000


@dataclass(frozen=True)
class Variant:
    """An algorithm with other arguments than its defaults."""

    algorithm: str
    arguments: dict[str, Any] = field(default_factory=dict)
    critic: str = "plain"


VARIANTS = {
    **{name: Variant(name) for name in OFF_POLICY},
    "sac_ardae-unclamped": Variant("sac_ardae", {"clamping_kwargs": {"eta": 0}}),
    "sac_ardae-bases4": Variant("sac_ardae", {"policy_kwargs": {"n_bases": 4}}),
    **{f"{name}-simba": Variant(name, critic="simba") for name in RESIDUAL_CRITICS},
}


def grid(
    envs: Sequence[str], algos: Sequence[str], n_seeds: int, steps: int, eval_freq: int, eval_episodes: int
) -> list[dict[str, Any]]:
    """Settings of the runs, seed by seed, so that an interrupted grid has whole comparisons.

    Each algorithm keeps its constructor's defaults, except for the number of random steps at the start.

    :param envs: ids, also of the form module:Id-v0
    :param algos: names of ``VARIANTS``
    :param n_seeds: seeds 0, 1, ...
    :param steps: environment steps of a run
    :param eval_freq: steps between evaluations, which ``steps`` is a multiple of
    :param eval_episodes: episodes of an evaluation
    :raises ValueError: for an argument outside of what is accepted
    :raises ImportError: for an algorithm of sb3-contrib when that is not installed
    """
    for algo in algos:
        check_choice("--algos", algo, tuple(VARIANTS))
        algorithm_class(VARIANTS[algo].algorithm)
    for env in envs:
        environment_id(env)
    for option, value in {"--seeds": n_seeds, "--eval-freq": eval_freq, "--eval-episodes": eval_episodes}.items():
        if value < 1:
            raise ValueError(f"{option} {value}: accepted are whole numbers from 1 up")
    if steps < eval_freq or steps % eval_freq:
        raise ValueError(f"--steps {steps}: accepted are multiples of --eval-freq {eval_freq}")
    common = {"steps": steps, "eval_freq": eval_freq, "eval_episodes": eval_episodes}
    return [
        {"name": f"{env} {algo} {seed}", "env": env, "algo": algo, "seed": seed} | common | _model(algo, steps)
        for seed in range(n_seeds)
        for env in envs
        for algo in algos
    ]


def _model(algo: str, steps: int) -> dict[str, Any]:
    variant = VARIANTS[algo]
    arguments = {"learning_starts": min(_LEARNING_STARTS, steps // 10), "buffer_size": min(steps, 1_000_000)}
    return {"algorithm": variant.algorithm, "critic": variant.critic, "arguments": arguments | variant.arguments}
