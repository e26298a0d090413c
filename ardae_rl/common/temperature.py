"""Checks of arguments that all maximum-entropy algorithms share."""

import math
from numbers import Real
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.common.checks import check_between, check_choice, check_count, check_finite


def check_continuous(action_space: spaces.Space[Any]) -> None:
    """Check that actions are continuous.

    :raises ValueError: If they are not.
    """
    if not isinstance(action_space, spaces.Box):
        raise ValueError(f"`action_space` must be a Box (continuous actions), got {action_space}")


def check_updates(model: OffPolicyAlgorithm) -> None:
    """Check the arguments that gradient steps use and SB3 does not check.

    :raises ValueError: For a value out of its range.
    :raises TypeError: For a value that is not a number.
    """
    check_count("buffer_size", model.buffer_size)
    check_count("batch_size", model.batch_size)
    check_count("n_steps", model.n_steps)
    check_between("tau", model.tau, 0, 1)
    check_between("gamma", model.gamma, 0, 1)
    check_count("target_update_interval", model.target_update_interval)  # type: ignore[attr-defined]


def check_temperature(ent_coef: str | float, target_entropy: str | float) -> None:
    """Check the initial temperature and the target of the entropy.

    :raises ValueError: For a value out of its range.
    :raises TypeError: For a target that is neither text nor a number.
    """
    initial_ent_coef(ent_coef)
    if isinstance(target_entropy, str):
        check_choice("target_entropy", target_entropy, ("auto",))
        return
    check_finite("target_entropy", target_entropy)


def initial_ent_coef(ent_coef: str | float) -> float:
    """Return the initial temperature: the number itself, 1 for "auto", x for "auto_x".

    :raises ValueError: For anything else, and for negative numbers.
    """
    if isinstance(ent_coef, str):
        prefix, separator, value = ent_coef.partition("_")
        try:
            initial = float(value if separator else 1)
        except ValueError:
            initial = 0.0
        valid = prefix == "auto" and 0 < initial < math.inf
    else:
        initial = float(ent_coef) if isinstance(ent_coef, Real) else -1.0
        valid = 0 <= initial < math.inf
    if not valid:
        raise ValueError(f"`ent_coef` must be a number >= 0, 'auto' or 'auto_<positive number>', got {ent_coef!r}")
    return initial
