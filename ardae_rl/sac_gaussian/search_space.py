"""The search space of SACGaussian for RL Zoo's ``-optimize``; imports rl_zoo3, so only the command imports it."""

from __future__ import annotations

from typing import Any

import optuna
from rl_zoo3.hyperparams_opt import convert_offpolicy_params, sample_her_params

from ardae_rl.common.search_space import off_policy_parameters, with_policy_kwargs


def sample(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
    """Suggest constructor arguments.

    Simba's critics are left out, because RL Zoo also suggests networks with layers of different widths.
    """
    params = off_policy_parameters(trial) | {"critic": trial.suggest_categorical("critic", ["mlp", "crossq"])}
    if additional_args["using_her_replay_buffer"]:
        params = sample_her_params(trial, params, additional_args["her_kwargs"])
    return convert(params)


def convert(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """Turn the numbers that Optuna stores into constructor arguments."""
    params: dict[str, Any] = convert_offpolicy_params(sampled_params)
    return with_policy_kwargs(params, "critic")
