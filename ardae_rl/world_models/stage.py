"""Base of the stages of World Models, whose settings are checked on construction and compared on resumption."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ardae_rl.common.checks import check_dict, check_keys
from ardae_rl.runs.run import Run
from ardae_rl.world_models.data import FrameStore
from ardae_rl.world_models.resume import check_settings

VALIDATION_SHARE = 0.1


class Stage:
    """Base of the frozen dataclasses whose fields are the settings of a stage.

    A subclass does its work in ``__call__``, which must start with :meth:`check_resumed`.
    """

    name: ClassVar[str]  # name of the checkpoint
    argument: ClassVar[str]  # argument of WorldModels that is a dictionary of the fields

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any] | None) -> Self:
        """Return the stage with these values in place of the defaults.

        :raises ValueError: For an unknown field, or a value outside of its range.
        :raises TypeError: For a value of a wrong type.
        """
        check_dict(cls.argument, kwargs)
        check_keys(cls.argument, kwargs or {}, [field.name for field in fields(cls)])  # type: ignore[arg-type]
        return cls(**(kwargs or {}))

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return all fields, under the name of the argument that sets them."""
        return {self.argument: asdict(self)}  # type: ignore[call-overload]

    def check_resumed(self, run: Run, seed: int, context: Mapping[str, Any] | None) -> None:
        """Refuse to resume a stage that was started with other settings.

        :param run: Run whose folder has the checkpoint, if the stage was started before.
        :param seed: Seed of the stage.
        :param context: Further settings that the stage depends on, such as those of the stages before it.
        :raises ValueError: If a setting differs from the one that was recorded.
        """
        check_settings(run.folder, self.name, {"seed": seed, **(context or {}), **self.settings()})

    def _named(self, field: str) -> str:
        """Return the field as a user writes it, for error messages."""
        return f"{self.argument}[{field!r}]"


def steps_in_round(n_steps: int, iteration: int) -> int:
    """Return the number of gradient steps in a round, which is halved after the first, because training continues."""
    return n_steps if iteration == 0 else max(1, n_steps // 2)


def split_episodes(store: FrameStore, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the episodes for training and validation; all for both if the store is too small."""
    training, held_out = store.split(VALIDATION_SHARE, seed)
    everything = np.arange(len(store))
    return (training, held_out) if len(training) and len(held_out) else (everything, everything)
