"""RL Zoo's options as a command receives them: their names and values among the arguments."""

from __future__ import annotations

import ast
from itertools import takewhile
from typing import Any

# RL Zoo's names of the options that matter here
CONF_FILE = ("-conf", "--conf-file")
HYPERPARAMS = ("-params", "--hyperparams")
LOG_FOLDER = ("-f", "--log-folder")
OPTIMIZATION_LOG = ("--optimization-log-path",)
OPTIMIZE = ("-optimize", "--optimize-hyperparameters")
OUTPUT_FOLDER = ("-o", "--output-folder")
MODEL_OF_RUN = ("--load-best", "--load-checkpoint", "--load-last-checkpoint")
STORAGE = ("--storage",)
STUDY_TRIAL = ("--trial-id",)
TENSORBOARD_LOG = ("-tb", "--tensorboard-log")
TRAINED_AGENT = ("-i", "--trained-agent")


def has_option(arguments: list[str], *names: str) -> bool:
    """Return whether one of the options is among ``arguments``, as ``name`` or ``name=value``."""
    return any(argument.split("=")[0] in names for argument in arguments)


def option_values(arguments: list[str], *names: str) -> list[str]:
    """Return the values of an option, from its last occurrence: ``name value value``, or ``name=value``.

    :param arguments: RL Zoo's options.
    :param names: The option's names.
    """
    values: list[str] = []
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in names:
            following = takewhile(lambda other: other[:1] != "-", arguments[index + 1 :])
            values = [value] if equals else list(following)
    return values


def literal_hyperparameters(arguments: list[str]) -> dict[str, Any]:
    """Return those hyper-parameters among RL Zoo's options whose values are literals, which need no evaluation.

    :param arguments: RL Zoo's options.
    """
    values = {}
    for text in option_values(arguments, *HYPERPARAMS):
        name, _, value = text.partition(":")
        try:
            values[name] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):  # RL Zoo evaluates it, or refuses it
            continue
    return values
