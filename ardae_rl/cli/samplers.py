"""Search spaces of our algorithms for RL Zoo's ``-optimize``; imports rl_zoo3, so only `zoo.register` imports it."""

from __future__ import annotations

from typing import Any

import optuna
from rl_zoo3.hyperparams_opt import convert_offpolicy_params, sample_her_params


def _offpolicy_params(trial: optuna.Trial) -> dict[str, Any]:
    """What both of our algorithms have in common with SAC."""
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


def sample_sac_ardae_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """Suggest constructor arguments of SACARDAE.

    RL Zoo replaces the whole ``policy_kwargs`` by what a sampler returns, hence every one that matters is sampled.
    """
    params = _offpolicy_params(trial) | {
        "n_action_samples_pow": trial.suggest_int("n_action_samples_pow", 2, 5),
        "n_score_updates": trial.suggest_int("n_score_updates", 1, 5),
        # Fewer noise than action dimensions would leave the policy without a density.
        "noise_dim": trial.suggest_int("noise_dim", n_actions, max(32, 2 * n_actions)),
        "n_encoder_layers": trial.suggest_int("n_encoder_layers", 0, 1),
    }
    trial.set_user_attr("n_action_samples", 2 ** params["n_action_samples_pow"])
    if additional_args["using_her_replay_buffer"]:
        params = sample_her_params(trial, params, additional_args["her_kwargs"])
    return convert_sac_ardae_params(params)


def convert_sac_ardae_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """Turn the numbers that Optuna stores into constructor arguments of SACARDAE."""
    params: dict[str, Any] = convert_offpolicy_params(sampled_params)
    params["n_action_samples"] = 2 ** params.pop("n_action_samples_pow")
    return _with_policy_kwargs(params, "noise_dim", "n_encoder_layers")


def sample_sac_nf_params(
    trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]
) -> dict[str, Any]:
    """Suggest constructor arguments of SACNF."""
    params = _offpolicy_params(trial) | {
        "flow": trial.suggest_categorical("flow", ["radial", "planar", "autoregressive", "coupling"]),
        "n_flows": trial.suggest_int("n_flows", 1, 5),
        "state_dependent_std": trial.suggest_categorical("state_dependent_std", [True, False]),
    }
    if additional_args["using_her_replay_buffer"]:
        params = sample_her_params(trial, params, additional_args["her_kwargs"])
    return convert_sac_nf_params(params)


def convert_sac_nf_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """Turn the numbers that Optuna stores into constructor arguments of SACNF."""
    params: dict[str, Any] = convert_offpolicy_params(sampled_params)
    return _with_policy_kwargs(params, "flow", "n_flows", "state_dependent_std")


def _with_policy_kwargs(params: dict[str, Any], *names: str) -> dict[str, Any]:
    """These of the arguments moved to the policy's."""
    for name in names:
        params["policy_kwargs"][name] = params.pop(name)
    return params


SAMPLERS = {"sac_ardae": sample_sac_ardae_params, "sac_nf": sample_sac_nf_params}
CONVERTERS = {"sac_ardae": convert_sac_ardae_params, "sac_nf": convert_sac_nf_params}
