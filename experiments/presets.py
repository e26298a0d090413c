"""Read a preset of `zoo_configs` as constructor arguments, with what RL-Zoo does to them on the way."""

from pathlib import Path
from typing import Any

import torch as th
import yaml
from stable_baselines3.common.utils import LinearSchedule

ZOO_CONFIGS = Path(__file__).parents[1] / "zoo_configs"

# Keys that RL-Zoo uses itself (for the environment or the run) and does not pass to the constructor.
_ZOO_KEYS = frozenset(
    "n_timesteps n_envs normalize frame_stack env_wrapper vec_env_wrapper env_kwargs monitor_kwargs callback "
    "noise_type noise_std policy".split()
)


def load_preset(path: Path, env_id: str) -> dict[str, Any]:
    """The constructor arguments that an RL-Zoo configuration gives for an environment.

    Raise FileNotFoundError without the file, ValueError without an entry for `env_id` (no silent `default:`).
    """
    entries = yaml.safe_load(path.read_text())
    if env_id not in entries:
        raise ValueError(f"{path.name} has no entry {env_id!r}: accepted are {', '.join(entries)}")
    arguments = {key: value for key, value in entries[env_id].items() if key not in _ZOO_KEYS}
    for key in ("policy_kwargs", "replay_buffer_kwargs", "replay_buffer_class"):
        if isinstance(arguments.get(key), str):
            # Strings in this schema are Python expressions: dict(net_arch=[64], activation_fn=nn.ReLU)
            arguments[key] = eval(arguments[key], {"th": th, "nn": th.nn})
    if isinstance(arguments.get("train_freq"), list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    rate = arguments.get("learning_rate")
    if isinstance(rate, str):  # "lin_3e-4": decays to zero
        arguments["learning_rate"] = LinearSchedule(float(rate.removeprefix("lin_")), 0.0, 1.0)
    return arguments
