"""RL Zoo's hyper-parameter search: the parameters that our off-policy algorithms share with SAC."""

from __future__ import annotations

from typing import Any

import optuna


def off_policy_parameters(trial: optuna.Trial) -> dict[str, Any]:
    """Suggest the parameters that an algorithm shares with SAC, in the form that Optuna stores."""
    params: dict[str, Any] = {
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 1e-4, 0.03, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 2e-3, log=True),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 6, 10),
        "train_freq": trial.suggest_int("train_freq", 1, 10),
        "tau": trial.suggest_float("tau", 0.001, 0.08, log=True),
        "ent_coef": trial.suggest_categorical("ent_coef", ["auto", 0.2, 0.1, 0.05, 0.02, 0.01]),
        "net_arch": trial.suggest_categorical("net_arch", ["small", "medium", "big"]),
    }
    trial.set_user_attr("gamma", 1 - params["one_minus_gamma"])
    trial.set_user_attr("batch_size", 2 ** params["batch_size_pow"])
    return params


def with_policy_kwargs(params: dict[str, Any], *names: str) -> dict[str, Any]:
    """Move the named parameters into ``policy_kwargs``, in place, and return ``params``."""
    for name in names:
        params["policy_kwargs"][name] = params.pop(name)
    return params
