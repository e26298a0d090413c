"""Faults inserted into copies of the package, one at a time: the named tests must fail."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stress.covering import recorded

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """A fault: a text in a file, its replacement, and the tests that find it."""

    fault: str
    file: str
    text: str
    replacement: str
    tests: str


_SAC_ARDAE, _SAC = "ardae_rl/sac_ardae/sac_ardae.py", "ardae_rl/common/soft_actor_critic.py"
_TARGETS, _UPDATES = "tests/sac_ardae/test_targets.py", "tests/sac_ardae/test_updates.py"
_AS_SB3 = "tests/sac_gaussian/test_sac_gaussian.py"
_IRL, _DVBF, _LATENT = "tests/irl/test_updates.py", "tests/dvbf/test_updates.py", "tests/latent/test_model_based.py"

MUTANTS = [
    Mutant(
        "entropy punished in the target",
        _SAC_ARDAE,
        "bonus = -self.ent_coef_value",
        "bonus = self.ent_coef_value",
        _TARGETS,
    ),
    Mutant(
        "action of the target not squashed",
        _SAC_ARDAE,
        "next_actions = th.tanh(pre_tanh[:, 0])",
        "next_actions = pre_tanh[:, 0]",
        _TARGETS,
    ),
    Mutant(
        "maximum of the critics",
        "ardae_rl/common/critics/kinds.py",
        "data.actions), next_values.min(dim=1",
        "data.actions), next_values.max(dim=1",
        _TARGETS,
    ),
    Mutant(
        "no target networks",
        _SAC_ARDAE,
        "self.critic_target.parameters(), self.tau)",
        "self.critic_target.parameters(), 1.0)",
        _TARGETS,
    ),
    Mutant(
        "entropy punished by the actor",
        _SAC_ARDAE,
        "actor_loss = -self.ent_coef_value * entropy - values.mean()",
        "actor_loss = self.ent_coef_value * entropy - values.mean()",
        _UPDATES,
    ),
    Mutant(
        "values minimized by the actor", _SAC_ARDAE, "* entropy - values.mean()", "* entropy + values.mean()", _UPDATES
    ),
    Mutant(
        "actor's actions not squashed",
        _SAC_ARDAE,
        "actions = th.tanh(pre_tanh[:, 0])\n        values",
        "actions = pre_tanh[:, 0]\n        values",
        _UPDATES,
    ),
    Mutant(
        "temperature moves away",
        _SAC_ARDAE,
        "ent_coef_loss = -(self.log_ent_coef",
        "ent_coef_loss = (self.log_ent_coef",
        _UPDATES,
    ),
    Mutant(
        "one critic trained",
        _SAC_ARDAE,
        "for q in current_q_values]).sum()",
        "for q in current_q_values])[0]",
        _UPDATES,
    ),
    Mutant(
        "critics updated by the actor's loss",
        _SAC_ARDAE,
        'with frozen(self.critic.optimizer.param_groups[0]["params"]):',
        "with frozen([]):",
        _UPDATES,
    ),
    Mutant(
        "SAC: entropy punished in the target",
        _SAC,
        "next_q_values - ent_coef * next_log_prob",
        "next_q_values + ent_coef * next_log_prob",
        _AS_SB3,
    ),
    Mutant("SAC: values minimized", _SAC, "(ent_coef * log_prob - values)", "(ent_coef * log_prob + values)", _AS_SB3),
    Mutant(
        "SAC: no target networks",
        _SAC,
        "self.critic_target.parameters(), self.tau)",
        "self.critic_target.parameters(), 1.0)",
        _AS_SB3,
    ),
    Mutant("SAC: temperature moves away", _SAC, "loss = -(self.log_ent_coef", "loss = (self.log_ent_coef", _AS_SB3),
    Mutant(
        "density added to the logit",
        "ardae_rl/irl/discriminator.py",
        "self.reward_net.reward_of(points) - points.log_q",
        "self.reward_net.reward_of(points) + points.log_q",
        _IRL,
    ),
    Mutant(
        "demonstrations and samples exchanged",
        "ardae_rl/irl/regularization.py",
        "targets = th.full_like(demo_logits, 1 - smoothing)",
        "targets = th.full_like(demo_logits, smoothing)",
        _IRL,
    ),
    Mutant(
        "potential's sign",
        "ardae_rl/irl/reward_nets.py",
        "next_potential - self.potential",
        "next_potential + self.potential",
        _IRL,
    ),
    Mutant(
        "potential of terminal states",
        "ardae_rl/irl/reward_nets.py",
        "(1 - points.terminated) * self.potential",
        "self.potential",
        _IRL,
    ),
    Mutant(
        "density in the reward off-policy",
        "ardae_rl/irl/airl.py",
        "if isinstance(generator, OnPolicyAlgorithm) else f",
        "if True else f",
        _IRL,
    ),
    Mutant("reward of GAIL", "ardae_rl/irl/gail.py", '"log": F.logsigmoid', '"log": F.softplus', _IRL),
    Mutant(
        "returns of GAN-GCL",
        "ardae_rl/irl/gan_gcl.py",
        "part.sum() for part in rewards",
        "part.mean() for part in rewards",
        _IRL,
    ),
    Mutant(
        "bound of DVBF maximized downward",
        "ardae_rl/dvbf/dvbf.py",
        "loss = -bound.mean()",
        "loss = bound.mean()",
        _DVBF,
    ),
    Mutant(
        "no annealing", "ardae_rl/dvbf/dvbf.py", "min(1.0, 0.01 + self._n_updates / self.anneal_steps)", "1.0", _DVBF
    ),
    Mutant("annealing without end", "ardae_rl/dvbf/dvbf.py", "min(1.0, 0.01 +", "(0.01 +", _DVBF),
    Mutant("weight of the reward", "ardae_rl/dvbf/dvbf.py", "loss + self.reward_weight * parts", "loss + parts", _DVBF),
    Mutant(
        "gradients not clipped",
        "ardae_rl/latent/model_based.py",
        "th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)",
        "pass",
        _LATENT,
    ),
    Mutant(
        "no schedule of the learning rate",
        "ardae_rl/latent/model_based.py",
        "update_learning_rate(self.policy.optimizer, rates[step])",
        "pass",
        _LATENT,
    ),
    Mutant(
        "planned instead of taken action",
        "ardae_rl/latent/model_based.py",
        "self.policy.scale_action(actions)  # the action taken",
        "self.policy.scale_action(planned)  # the action taken",
        _LATENT,
    ),
]


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Try the first ``count`` faults.

    :raises RuntimeError: If the tests fail without a fault, or cannot be run.
    """
    chosen = MUTANTS[: int(count)]
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_project(Path(folder))
        for tests in dict.fromkeys(mutant.tests for mutant in chosen):
            require_passing([tests], copy)
        return [_row(mutant, copy) for mutant in chosen]


def copy_project(folder: Path) -> Path:
    """Copy what the tests need into a folder, and return it."""
    for name in ("ardae_rl", "envs", "experiments", "stress", "tests", "zoo_configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_tests(
    tests: Sequence[str], copy: Path, seconds: float | None = None, record: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy of the project up to the first failure.

    :param tests: Files, folders or names of tests, and options of pytest.
    :param copy: The copy.
    :param seconds: The longest time that they may take.
    :param record: File for the lines that each test executes.
    :raises subprocess.TimeoutExpired: If they take longer than ``seconds``.
    """
    path = os.pathsep.join(map(str, (copy, copy / "envs")))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    coverage, plugin, variables = ([], [], {}) if record is None else recorded(record)
    command = [sys.executable, *coverage, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *plugin, *tests]
    return subprocess.run(
        command, cwd=copy, env=environment | variables, capture_output=True, text=True, timeout=seconds, check=False
    )


def require_passing(tests: Sequence[str], copy: Path, record: Path | None = None) -> None:
    """Run tests of a copy of the project that has no fault.

    :param tests: Files, folders or names of tests.
    :param copy: The copy.
    :param record: File for the lines that each test executes.
    :raises RuntimeError: If they do not pass, so that they could not detect a fault.
    """
    done = run_tests(tests, copy, record=record)
    if done.returncode:
        raise failure(" ".join(tests), done)


def failure(tests: str, done: subprocess.CompletedProcess[str]) -> RuntimeError:
    """Return the error for a test run that says nothing about a fault."""
    output = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return RuntimeError(f"pytest {tests} ended with status {done.returncode}:\n{output}")


def _row(mutant: Mutant, copy: Path) -> dict[str, Any]:
    path = copy / mutant.file
    original = path.read_text()
    path.write_text(mutated(original, mutant))
    try:
        found = _fails(mutant.tests, copy)
    finally:
        path.write_text(original)
    return {"fault": mutant.fault, "file": mutant.file, "tests": mutant.tests, "wrong": int(not found)}


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source of a file with a fault.

    :raises ValueError: If the text to replace is not there exactly once.
    """
    if source.count(mutant.text) != 1:
        raise ValueError(f"`text` must occur once in {mutant.file}, got {source.count(mutant.text)}: {mutant.text}")
    return source.replace(mutant.text, mutant.replacement)


def _fails(tests: str, copy: Path) -> bool:
    done = run_tests([tests], copy)
    if done.returncode not in (0, 1):
        raise failure(tests, done)
    return done.returncode == 1
