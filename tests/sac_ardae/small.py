"""Small models for tests."""

from typing import Any

from stable_baselines3.common.type_aliases import GymEnv

from ardae_rl import SACARDAE

SCORE_KWARGS: dict[str, Any] = {"network_kwargs": {"hidden": [16, 16], "context_hidden": [16]}}
POLICY_KWARGS: dict[str, Any] = {"net_arch": [16, 16], "score_kwargs": SCORE_KWARGS}
ARGUMENTS: dict[str, Any] = {
    "batch_size": 32,
    "buffer_size": 1000,
    "learning_starts": 10,
    "n_score_updates": 1,
    "score_warmup": 5,
    "n_action_samples": 4,
    "device": "cpu",
    "seed": 0,
}
NO_DENSITY: dict[str, Any] = {"backup_entropy": False, "ent_coef": 0.1}  # the settings that need no density


def score(**arguments: Any) -> dict[str, Any]:
    """Return arguments of :func:`make` for a small estimator with these settings."""
    return {"policy_kwargs": {"score_kwargs": SCORE_KWARGS | arguments}}


def make(env: GymEnv | str = "Pendulum-v1", policy: str = "MlpPolicy", **arguments: Any) -> SACARDAE:
    """Return a small SACARDAE. ``policy_kwargs`` are merged with the small ones; other arguments replace them."""
    given = arguments.pop("policy_kwargs", {})
    small = {"net_arch": [16, 16]} if given.get("entropy") == "distance" else POLICY_KWARGS  # which has no estimator
    policy_kwargs = small | given
    return SACARDAE(policy, env, policy_kwargs=policy_kwargs, **(ARGUMENTS | arguments))
