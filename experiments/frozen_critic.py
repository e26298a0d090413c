"""How fast does a policy learn from a frozen critic? SACARDAE's policy beside SAC's, without the noise of returns.

SAC is trained on an environment. Its critic and temperature are then frozen, and new policies maximize
J = E[min Q(s, a)] + α H from scratch, in batches of the states in SAC's replay buffer. J is measured in other states of
the same buffer. SAC's entropy is exact in expectation; SACARDAE's is the reference of
:mod:`experiments.entropy_truth`, never its own estimate. Differences within a seed have the same critic, temperature
and states. SACARDAE has its defaults except for ``arguments``, as in ``closed_loop``.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.common.checks import check_choice
from ardae_rl.grid.statistics import seed_difference
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.actor_only import ActorOnly
from experiments.common import variant_arguments
from experiments.entropy_truth import policy_entropies
from experiments.figure import Figure, needed

ENVS = ("Hopper-v5", "HalfCheetah-v5")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"critic_steps": 120, "checks": [1, 2], "states": 2, "samples": 50, "components": 60},
    "quick": {
        "critic_steps": 20_000,
        "checks": [500, 1000, 2000, 4000],
        "states": 64,
        "samples": 2000,
        "components": 4096,
    },
}
_SMOKE_ARGUMENTS = {"batch_size": 8, "score_warmup": 1}
_FROZEN = "frozen.npz"
KEY = ("env", "algo", "seed", "update")


def runs(
    budget: str,
    n_seeds: int,
    *,
    envs: tuple[str, ...] = ENVS,
    variant: str = "default",
    arguments: str = "{}",
) -> list[dict[str, Any]]:
    for env in envs:
        check_choice("envs", env, ENVS)
    given = (_SMOKE_ARGUMENTS if budget == "smoke" else {}) | variant_arguments(variant, arguments)
    algo = "sac_ardae" if variant == "default" else f"sac_ardae-{variant}"
    return [
        {"name": f"{env} {name} seed{seed}", "env": env, "algo": name, "seed": seed, "arguments": kwargs}
        | {"needs": {"name": f"{env} critic {seed}", "env": env, "seed": seed} | BUDGETS[budget]}
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for env in (envs[:1] if budget == "smoke" else envs)
        for name, kwargs in (("sac", {}), (algo, given))
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Train SAC, and keep the model, the temperature and the visited states."""
    model = SAC("MlpPolicy", settings["env"], buffer_size=settings["critic_steps"], seed=settings["seed"], device="cpu")
    model.learn(settings["critic_steps"])
    model.save(run.folder / "model")
    assert model.replay_buffer is not None and model.log_ent_coef is not None
    observations = model.replay_buffer.observations[: model.replay_buffer.size(), 0]
    np.savez(run.folder / _FROZEN, observations=observations, ent_coef=float(model.log_ent_coef.detach().exp()))


class FrozenSACARDAE(ActorOnly):
    """SACARDAE with a critic that is not trained."""

    observations: th.Tensor

    def sample_states(self, n: int) -> th.Tensor:
        return _rows(self.observations, n)


class FrozenSAC(SAC):
    """SAC with a critic that is not trained."""

    observations: th.Tensor

    def updates(self, n_updates: int, check_every: int) -> Iterator[None]:
        """Train, and yield every ``check_every`` updates."""
        assert isinstance(self.ent_coef, float)
        for update in range(n_updates):
            states = _rows(self.observations, self.batch_size)
            actions, log_prob = self.actor.action_log_prob(states)
            q_values = th.cat(self.critic(states, actions), dim=1).min(1).values
            loss = (self.ent_coef * log_prob - q_values).mean()
            self.actor.optimizer.zero_grad()
            loss.backward()
            self.actor.optimizer.step()
            if (update + 1) % check_every == 0:
                yield None


def _rows(observations: th.Tensor, n: int) -> th.Tensor:
    return observations[th.randint(len(observations), (n,))]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one policy, and return a row for each check."""
    folder = needed(run.folder, settings)
    with np.load(folder / _FROZEN) as frozen:
        observations, ent_coef = th.from_numpy(frozen["observations"]).float(), float(frozen["ent_coef"])
    order = np.random.default_rng(settings["seed"]).permutation(len(observations))
    held_out, training = observations[order[: settings["states"]]], observations[order[settings["states"] :]]
    cls = FrozenSAC if settings["algo"] == "sac" else FrozenSACARDAE
    arguments = {"ent_coef": ent_coef, "buffer_size": 1, "seed": settings["seed"], "device": "cpu"}
    model: Any = cls("MlpPolicy", gym.make(settings["env"]), **arguments | settings["arguments"])
    model.critic.load_state_dict(SAC.load(folder / "model", device="cpu", buffer_size=1).critic.state_dict())
    model.observations = training
    rows: list[Row] = []
    checks = settings["checks"]
    for update, _ in zip(_multiples(checks), model.updates(checks[-1], checks[0]), strict=True):
        if update in checks:
            figures = objective(model, held_out, ent_coef, settings["samples"], settings["components"])
            row = {name: settings[name] for name in KEY[:-1]} | {"update": update, "ent_coef": round(ent_coef, 5)}
            rows.append(row | {name: round(value, 4) for name, value in figures.items()})
            run.report(update, checks[-1])
    return rows


def _multiples(checks: Sequence[int]) -> range:
    return range(checks[0], checks[-1] + 1, checks[0])


@th.no_grad()
def objective(
    model: OffPolicyAlgorithm, states: th.Tensor, ent_coef: float, n_samples: int, n_components: int
) -> dict[str, float]:
    """Return J, and its parts E[min Q] and H, as means over states (n, ...)."""
    repeated = states.repeat_interleave(n_samples, dim=0)
    with th.random.fork_rng():
        th.manual_seed(0)
        if isinstance(model, FrozenSAC):
            actions, log_prob = model.actor.action_log_prob(repeated)
            entropy = -float(log_prob.mean())
        else:
            assert isinstance(model, FrozenSACARDAE)
            actions = model.policy.actor(repeated)
            entropy = float(policy_entropies(model, states.numpy(), n_samples, n_components).truth.mean())
        critic: Any = model.policy.critic
        q_value = float(th.cat(critic(repeated, actions), dim=1).min(1).values.mean())
    return {"objective": q_value + ent_coef * entropy, "q_value": q_value, "entropy": entropy}


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return the mean objective over seeds, and by how much it exceeds SAC's with the same critic.

    "ahead" is the mean difference within the seeds, with Student's t interval of 95 %.
    """
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        groups.setdefault((row["env"], row["algo"], row["update"]), {})[row["seed"]] = float(row["objective"])
    table: list[Row] = []
    for (env, algo, update), by_seed in groups.items():
        line: dict[str, Any] = {"env": env, "algo": algo, "update": update, "n_seeds": len(by_seed)}
        line["objective"] = round(float(np.mean(list(by_seed.values()))), 4)
        ahead = seed_difference(by_seed, {} if algo == "sac" else groups.get((env, "sac", update), {}))
        line |= {f"ahead_{name}": round(value, 4) for name, value in ahead._asdict().items()}
        table.append(line)
    return table


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=summary,
    seeds={"smoke": 1, "quick": 5},
    prepare=prepare,
    key=KEY,
    summary_key=("env", "algo", "update"),
)
