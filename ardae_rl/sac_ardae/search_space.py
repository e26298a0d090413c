"""The search space of SACARDAE for RL Zoo's ``-optimize``; imports rl_zoo3, so only the command imports it."""

from __future__ import annotations

from typing import Any

import optuna
from rl_zoo3.hyperparams_opt import convert_offpolicy_params, sample_her_params

from ardae_rl.common.search_space import off_policy_parameters, with_policy_kwargs


def sample(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
    """Suggest constructor arguments.

    RL Zoo replaces the whole ``policy_kwargs`` with those of the sampler, so all that matter are sampled.
    """
    params = off_policy_parameters(trial) | {
        "n_action_samples_pow": trial.suggest_int("n_action_samples_pow", 2, 5),
        "n_score_updates": trial.suggest_int("n_score_updates", 1, 5),
        # Fewer noise than action dimensions would leave the policy without a density.
        "noise_dim": trial.suggest_int("noise_dim", n_actions, max(32, 2 * n_actions)),
        "n_encoder_layers": trial.suggest_int("n_encoder_layers", 0, 1),
    }
    trial.set_user_attr("n_action_samples", 2 ** params["n_action_samples_pow"])
    if additional_args["using_her_replay_buffer"]:
        params = sample_her_params(trial, params, additional_args["her_kwargs"])
    return convert(params)


def convert(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """Turn the numbers that Optuna stores into constructor arguments."""
    params: dict[str, Any] = convert_offpolicy_params(sampled_params)
    params["n_action_samples"] = 2 ** params.pop("n_action_samples_pow")
    return with_policy_kwargs(params, "noise_dim", "n_encoder_layers")
