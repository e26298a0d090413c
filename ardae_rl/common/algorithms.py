"""What algorithms change of SB3's ``learn`` and of its warnings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback


class NamedAlgorithm(BaseAlgorithm):
    """Logs to TensorBoard under the name of its class. List it before SB3's algorithm among the bases of a class."""

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train as SB3's algorithms do.

        :param total_timesteps: Number of environment steps.
        :param callback: Callback or callbacks, called at every step.
        :param log_interval: Number of episodes between two entries of the log.
        :param tb_log_name: Name of the run in TensorBoard, by default the name of the class.
        :param reset_num_timesteps: Whether to count steps from zero instead of from the end of the last training.
        :param progress_bar: Whether to show a progress bar.
        """
        return super().learn(  # type: ignore[safe-super]
            total_timesteps,
            callback,
            log_interval,
            tb_log_name or type(self).__name__,
            reset_num_timesteps,
            progress_bar,
        )


@contextmanager
def n_step_buffer_accepted(model: OffPolicyAlgorithm) -> Iterator[None]:
    """Suppress SB3's warning that ``n_steps`` is ignored, if a loaded model has SB3's own buffer for these n steps."""
    saved = (model.replay_buffer_kwargs or {}).get("n_steps")
    with warnings.catch_warnings():
        if model.replay_buffer_class is NStepReplayBuffer and saved == model.n_steps:
            warnings.filterwarnings("ignore", r"`n_steps=\d+` is ignored because a custom `replay_buffer_class`")
        yield
