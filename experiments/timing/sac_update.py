"""Cost of one gradient step, as a multiple of Stable-Baselines3's SAC.

Four tables: `update`, the defaults at HalfCheetah's and Humanoid's sizes; `paper`, the paper's settings at the sizes
of three environments, compared with a straightforward form of the same mathematics; `scaling`, how the default's cost
grows with batch size, action samples, action dimension and width; `critics`, the kinds of critics at two widths
(SimBa's critics have half the width: their blocks are four times as wide inside). The replay buffer has random
transitions; the batch size is 256 unless stated otherwise.

The cases of a table take turns in one process, so that a change of the machine's speed affects all of them equally. In
a turn, a case takes enough consecutive steps to include what does not happen in every step: SACARDAE's correction of
the log-density every 50 steps, and the update of CrossQ's actor every three. CPU time is given as well as wall time,
because other work on the machine lengthens only the latter. GFLOP are counted by torch's counter (matrix products
only), and their rate is given as a fraction of the best rate of one large product in the same process.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch.utils.flop_counter import FlopCounterMode

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.common.critics import CRITICS
from ardae_rl.presets import constructor_arguments
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.sac_ardae.sac_ardae import CORRECTION_INTERVAL
from experiments.common import make_model
from experiments.figure import Figure
from tests.oracles.straightforward import straightforward

BUFFER_SIZE, WARM_UP = 5_000, 4
HALF_CHEETAH, HOPPER, HUMANOID = (17, 6), (11, 3), (348, 17)
SHOWN = "case wall_ms cpu_ms wall_ratio cpu_ratio gflop share_of_peak_gflop_rate peak_mb".split()


@dataclass(frozen=True)
class Case:
    """A model to be timed: an algorithm with `arguments`, on spaces of these dimensions."""

    label: str
    algo: str
    dims: tuple[int, int] = HALF_CHEETAH
    batch_size: int = 256
    arguments: dict[str, Any] = field(default_factory=dict)
    straightforward: bool = False


def sac(dims: tuple[int, int] = HALF_CHEETAH, batch_size: int = 256, width: int = 256) -> Case:
    return Case("SB3 SAC", "sac", dims, batch_size, {"policy_kwargs": {"net_arch": [width, width]}})


def update_table() -> Iterator[tuple[str, list[Case]]]:
    for name, dims in (("HalfCheetah", HALF_CHEETAH), ("Humanoid", HUMANOID)):
        yield (
            name,
            [
                sac(dims),
                Case("SACNF", "sac_nf", dims),
                Case("SACARDAE", "sac_ardae", dims),
                Case("SACARDAE, compile", "sac_ardae", dims, arguments={"compile": True}),
            ],
        )


def paper_table() -> Iterator[tuple[str, list[Case]]]:
    for name, dims in (("HalfCheetah", HALF_CHEETAH), ("Hopper", HOPPER), ("Humanoid", HUMANOID)):
        paper, _ = constructor_arguments("sac_ardae", f"{name}-v5", "paper")
        del paper["policy"]  # make_model sets it
        yield (
            name,
            [
                sac(dims),
                Case("paper, straightforward", "sac_ardae", dims, arguments=paper, straightforward=True),
                Case("paper", "sac_ardae", dims, arguments=paper),
                Case("paper, compile", "sac_ardae", dims, arguments=paper | {"compile": True}),
                Case("paper, n_a 16, n_Z 10", "sac_ardae", dims, arguments=_with_few_samples(paper)),
            ],
        )


def _with_few_samples(arguments: dict[str, Any]) -> dict[str, Any]:
    policy_kwargs = arguments["policy_kwargs"]
    score_kwargs = policy_kwargs["score_kwargs"]
    few = score_kwargs["normalization_kwargs"] | {"n_samples": 10}
    score_kwargs = score_kwargs | {"normalization_kwargs": few}
    return arguments | {"n_action_samples": 16, "policy_kwargs": policy_kwargs | {"score_kwargs": score_kwargs}}


def scaling_table() -> Iterator[tuple[str, list[Case]]]:
    for size in (64, 256, 1024):
        yield f"batch {size}", [sac(batch_size=size), Case("SACARDAE", "sac_ardae", batch_size=size)]
    for n in (4, 16, 64):
        yield f"n_action_samples {n}", [sac(), Case("SACARDAE", "sac_ardae", arguments={"n_action_samples": n})]
    for dim in (1, 6, 17):
        yield f"action dimension {dim}", [sac((17, dim)), Case("SACARDAE", "sac_ardae", (17, dim))]
    for width in (64, 256, 512):
        kwargs = {"policy_kwargs": {"net_arch": [width, width]}}
        yield f"width {width}", [sac(width=width), Case("SACARDAE", "sac_ardae", arguments=kwargs)]


def critics_table() -> Iterator[tuple[str, list[Case]]]:
    for width in (256, 512):
        widths = {"policy_kwargs": {"net_arch": {"pi": [256, 256], "qf": [width, width]}}}
        cases = [Case("SB3 SAC", "sac", arguments=widths)]
        for label, algo in (("SACGaussian", "sac_gaussian"), ("SACNF", "sac_nf"), ("SACARDAE", "sac_ardae")):
            for critic in CRITICS:
                critic_width = width // 2 if critic == "simba" else width
                kwargs = {"critic": critic, "net_arch": {"pi": [256, 256], "qf": [critic_width, critic_width]}}
                arguments = {"policy_kwargs": kwargs}
                cases.append(Case(f"{label}, {critic}", algo, arguments=arguments))
        distance = {"policy_kwargs": widths["policy_kwargs"] | {"entropy": "distance"}}
        cases.append(Case("SACARDAE, mlp, distance", "sac_ardae", arguments=distance))
        yield f"critics of width {width}", cases


TABLES = {"update": update_table, "paper": paper_table, "scaling": scaling_table, "critics": critics_table}


class Spaces(gym.Env[np.ndarray, np.ndarray]):
    """Only its spaces matter: transitions are random and never come from a simulator."""

    def __init__(self, observation_dim: int, action_dim: int) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, shape=(observation_dim,), dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, shape=(action_dim,), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def make_case(case: Case, device: str = "cpu") -> OffPolicyAlgorithm:
    """Return a model with a filled replay buffer, ready for `train`."""
    keep_freed_memory()
    arguments = case.arguments | {"buffer_size": BUFFER_SIZE, "seed": 0, "device": device}
    model = make_model(case.algo, Spaces(*case.dims), **arguments)
    model.set_logger(Logger(folder=None, output_formats=[]))
    rng = np.random.default_rng(0)
    buffer: Any = model.replay_buffer
    for _ in range(BUFFER_SIZE):
        obs, next_obs = rng.standard_normal((2, 1, case.dims[0])).astype(np.float32)
        action = rng.uniform(-1, 1, (1, case.dims[1])).astype(np.float32)
        buffer.add(obs, next_obs, action, rng.standard_normal(1), np.zeros(1), [{}])
    return model


class Measurements:
    """Times, arithmetic and memory of one model's gradient steps."""

    def __init__(self, case: Case, n_steps: int, device: str) -> None:
        self.case, self.n_steps, self.device = case, n_steps, device
        self.model = make_case(case, device)
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.peak_mb = self.gflop = float("nan")

    def warm_up(self) -> None:
        """Take the first steps, and measure memory and arithmetic in the last of them."""
        self.train(WARM_UP)
        self.peak_mb = self._peak_mb()
        # The counter sees through neither compiled code nor torch.autograd.grad: the plain form does the same products
        if not (self.case.straightforward or self.case.arguments.get("compile")):
            with FlopCounterMode(display=False) as counter:
                self.train(self.n_steps)
            self.gflop = counter.get_total_flops() / 1e9 / self.n_steps

    def train(self, n_steps: int) -> None:
        with straightforward(self.model) if self.case.straightforward else nullcontext():
            for _ in range(n_steps):
                self.model.train(1, self.case.batch_size)
        if self.device == "cuda":
            th.cuda.synchronize()

    def time(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.train(self.n_steps)
        self.wall.append(1e3 * (time.perf_counter() - wall) / self.n_steps)
        self.cpu.append(1e3 * (time.process_time() - cpu) / self.n_steps)

    def _peak_mb(self) -> float:
        """Return the memory that a step on a GPU needs in addition to what is allocated; NaN on a CPU."""
        if self.device != "cuda":
            return float("nan")
        th.cuda.reset_peak_memory_stats()
        before = th.cuda.memory_allocated()
        self.train(1)
        return (th.cuda.max_memory_allocated() - before) / 2**20


def peak_gflop_rate(device: str) -> float:
    """Return the GFLOP/s of the best of some large single-precision products."""
    best = 0.0
    for n in (512, 1024, 2048):
        a, b = (th.randn(n, n, device=device) for _ in range(2))
        for _ in range(8):
            start = time.perf_counter()
            product = a @ b
            if device == "cuda":
                th.cuda.synchronize()
            best = max(best, 2 * n**3 / 1e9 / (time.perf_counter() - start))
            del product
    return best


def measure(cases: Sequence[Case], n_steps: int, repeats: int, device: str, run: Run) -> list[Measurements]:
    measurements = [Measurements(case, n_steps, device) for case in cases]
    for each in measurements:
        each.warm_up()
    for repeat in range(repeats):
        for each in measurements:
            each.time()
        run.report(repeat + 1, repeats)
    return measurements


def result_rows(measurements: Sequence[Measurements], common: dict[str, Any]) -> list[Row]:
    """Return rows of the table; the others are compared to the first case."""
    peak = peak_gflop_rate(common["device"])
    rows: list[Row] = []
    baseline = measurements[0]
    for each in measurements:
        wall, cpu = statistics.median(each.wall), statistics.median(each.cpu)
        figures = {
            "wall_ms": wall,
            "cpu_ms": cpu,
            "wall_ratio": wall / statistics.median(baseline.wall),
            "cpu_ratio": cpu / statistics.median(baseline.cpu),
            "updates_per_second": 1e3 / wall,
            "gflop": each.gflop,
            "share_of_peak_gflop_rate": each.gflop / (wall / 1e3) / peak,
            "peak_mb": each.peak_mb,
        }
        row = common | {"case": each.case.label, "batch_size": each.case.batch_size, "steps": each.n_steps}
        row |= {"repeats": len(each.wall)}
        rows.append(row | {name: f"{value:.4g}" for name, value in figures.items()})
    return rows


# Number of turns, and of a case's steps in each; a step with the paper's settings takes seconds
REPEATS = {"update": 12, "paper": 7, "scaling": 6, "critics": 6}
STEPS = {"update": CORRECTION_INTERVAL, "paper": 1, "scaling": CORRECTION_INTERVAL, "critics": 3 * CORRECTION_INTERVAL}


def runs(
    budget: str,
    n_seeds: int,
    *,
    tables: tuple[str, ...] = ("update",),
    threads: tuple[int, ...] = (1,),
    device: str = "cpu",
) -> list[dict[str, Any]]:
    for table in tables:
        check_choice("tables", table, TABLES)
    for n_threads in threads:
        check_count("threads", n_threads)
    check_choice("device", device, ("cpu", "cuda"))
    return [
        {"name": f"{table} {setting} {n_threads} {device}", "table": table, "setting": setting, "device": device}
        | {"threads": n_threads, "compile": budget != "smoke"}
        | ({"steps": 3, "repeats": 1} if budget == "smoke" else {"steps": STEPS[table], "repeats": REPEATS[table]})
        for n_threads in threads
        for table in tables
        for setting, _ in TABLES[table]()
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Time the cases of one setting in turns."""
    th.set_num_threads(settings["threads"])
    cases = dict(TABLES[settings["table"]]())[settings["setting"]]
    cases = [case for case in cases if settings["compile"] or not case.arguments.get("compile")]
    common = {name: settings[name] for name in ("table", "setting", "device", "threads")}
    measurements = measure(cases, settings["steps"], settings["repeats"], settings["device"], run)
    return result_rows(measurements, common)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("setting", "threads", *SHOWN),
    seeds={"smoke": 0, "quick": 0},
    key=("table", "setting", "device", "threads", "case", "steps", "repeats"),
    timed=True,
)
