"""Networks and batches of a size for tests."""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv

from ardae_rl import SACARDAE

SCORE_KWARGS: dict[str, Any] = {"hidden": [16, 16], "context_hidden": [16]}
POLICY_KWARGS: dict[str, Any] = {"net_arch": [16, 16], "score_kwargs": SCORE_KWARGS}
ARGUMENTS: dict[str, Any] = {
    "batch_size": 32,
    "buffer_size": 1000,
    "learning_starts": 10,
    "n_score_updates": 1,
    "score_warmup": 5,
    "n_action_samples": 4,
    "n_importance": 10,
    "device": "cpu",
    "seed": 0,
}


def make(env: GymEnv | str = "Pendulum-v1", policy: str = "MlpPolicy", **arguments: Any) -> SACARDAE:
    """A small SACARDAE; ``policy_kwargs`` are added to the small ones, the other arguments replace them."""
    policy_kwargs = POLICY_KWARGS | arguments.pop("policy_kwargs", {})
    return SACARDAE(policy, env, policy_kwargs=policy_kwargs, **(ARGUMENTS | arguments))


def parameters(model: SACARDAE) -> dict[str, th.Tensor]:
    """Copies of all networks' parameters and buffers, and of the temperature, by name."""
    state = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    state["ent_coef"] = model.ent_coef_value.clone()
    return state


def changed(before: dict[str, th.Tensor], after: dict[str, th.Tensor]) -> set[str]:
    """First components of the names of the tensors that differ: "actor", "critic", "estimator", ..."""
    assert before.keys() == after.keys()
    return {name.split(".")[0] for name in before if not th.equal(before[name], after[name])}
