"""The stages of World Models, each of which goes on where it was interrupted."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.runs.run import History, Run
from ardae_rl.world_models.data import FrameStore, LatentStore, SequenceBatch, SequenceSampler, encode, fingerprint
from ardae_rl.world_models.dream import Dream, DreamEvaluator
from ardae_rl.world_models.evolution import CMAES, Evaluator, Evolution, ProcessEvaluator, RolloutEvaluator, evolve
from ardae_rl.world_models.fitting import fit
from ardae_rl.world_models.memory_loss import HORIZONS, memory_loss, open_loop_errors
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.vision import SIZE, active_units

OnRow = Callable[[dict[str, float]], None] | None
VALIDATION_SHARE = 0.1
_VALIDATED = 256  # frames or sequences
_CHUNK = 64  # frames encoded at once


def open_store(policy: WorldModelPolicy, folder: str | Path, **arguments: Any) -> FrameStore:
    """The store of frames as the policy's vision gets them; see :class:`~ardae_rl.world_models.data.FrameStore`."""
    preprocessing = f"{policy.cropped_rows} rows cropped from below, bilinear to {SIZE} x {SIZE}"
    if policy.action_repeat > 1:
        preprocessing += f", actions held for {policy.action_repeat} steps"
    return FrameStore(folder, (SIZE, SIZE, 3), policy.action_space, preprocessing, **arguments)


def make_repeating(env: str | Callable[[], gym.Env[Any, Any]], action_repeat: int) -> gym.Env[Any, Any]:
    """An environment, given by its id or a function that makes it, in which a step is a decision of the policy."""
    made = env() if callable(env) else gym.make(env)
    return ActionRepeat(made, action_repeat) if action_repeat > 1 else made


def train_vision(
    policy: WorldModelPolicy,
    store: FrameStore,
    run: Run,
    *,
    n_steps: int,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    seed: int = 0,
    keep: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None = None,
    every: int = 200,
    on_row: OnRow = None,
    progress: bool = False,
) -> History:
    """Train V on stored frames, a tenth of the episodes held out.

    :param n_steps: gradient steps
    :param keep: which frames to draw from, see :meth:`~ardae_rl.world_models.data.FrameStore.sample_frames`
    :param on_row: see :func:`~ardae_rl.world_models.fitting.fit`, as for ``progress``
    :return: rows of step, losses, and of the held-out frames ``validation_error`` and ``validation_kl``, per frame, and
        ``active_units``
    """
    vision, (training, held_out) = policy.vision, _split(store, seed)
    draw = partial(store.sample_frames, keep=keep, last_frames=False)
    fixed = th.from_numpy(draw(np.random.default_rng([seed, 1]), _VALIDATED, held_out))

    def loss(rng: np.random.Generator) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        terms = vision.loss(th.from_numpy(draw(rng, batch_size, training)).to(policy.device))
        return terms.loss, {"reconstruction": terms.reconstruction, "kl": terms.kl_by_unit.sum()}

    @th.no_grad()
    def validate() -> dict[str, float]:
        with th.random.fork_rng():
            th.manual_seed(seed)
            terms = vision.loss(fixed.to(policy.device))
        kl = float(terms.kl_by_unit.sum())
        return {
            "validation_error": float(terms.reconstruction),
            "validation_kl": kl,
            "active_units": active_units(terms.kl_by_unit),
        }

    return fit(
        vision,
        loss,
        run,
        others=vision.optimizers,
        name="vision",
        n_steps=n_steps,
        learning_rate=learning_rate,
        final_learning_rate=0.1 * learning_rate,
        seed=seed,
        validate=validate,
        every=every,
        on_row=on_row,
        progress=progress,
    )


def encode_frames(
    policy: WorldModelPolicy, store: FrameStore, folder: str | Path, progress: bool = False
) -> LatentStore:
    """V's posteriors of all stored frames; a folder that another V has filled is refused."""

    @th.no_grad()
    def encoded(frames: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        mean, log_std = policy.vision.encode(th.from_numpy(frames).to(policy.device))
        return mean.cpu().numpy(), log_std.cpu().numpy()

    mark = fingerprint(policy.vision, store.preprocessing)
    return encode(store, encoded, folder, mark, batch_size=_CHUNK, progress=progress)


def train_memory(
    policy: WorldModelPolicy,
    store: FrameStore,
    latents: LatentStore,
    run: Run,
    *,
    n_steps: int,
    length: int = 250,
    batch_size: int = 32,
    z_loss: str = "nll",
    learning_rate: float = 1e-3,
    reward_weight: float = 1.0,
    done_weight: float = 1.0,
    done_factor: float = 1.0,
    seed: int = 0,
    every: int = 100,
    on_row: OnRow = None,
    progress: bool = False,
) -> History:
    """Train M on sequences of latents drawn anew for each batch, a tenth of the episodes held out.

    :param n_steps: gradient steps
    :param length: of sequences
    :param z_loss: "nll", "bound" or "gaussian_kl", see :func:`~ardae_rl.world_models.memory.z_loss`
    :param reward_weight: see :func:`~ardae_rl.world_models.memory_loss.memory_loss`, as for the next two
    :param on_row: see :func:`~ardae_rl.world_models.fitting.fit`, as for ``progress``
    :return: rows of step, losses, and of held-out sequences ``validation_nll`` and errors of the foresight
    """
    memory, (training, held_out) = policy.memory, _split(store, seed)
    sampler = SequenceSampler(latents, store, training, length, batch_size, np.random.default_rng(seed))
    fixed_rng = np.random.default_rng([seed, 1])
    fixed = SequenceSampler(latents, store, held_out, length, min(_VALIDATED, 4 * batch_size), fixed_rng).sample()
    weights = {"reward_weight": reward_weight, "done_weight": done_weight, "done_factor": done_factor}

    def loss(rng: np.random.Generator) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        sampler.rng = rng
        return memory_loss(memory, sampler.sample().to(policy.device), z_loss, **weights)

    @th.no_grad()
    def validate() -> dict[str, float]:
        batch = fixed.to(policy.device)
        nll = float(memory_loss(memory, batch, z_loss, **weights)[1]["nll"])
        return {"validation_nll": nll} | _foresight(policy, batch)

    return fit(
        memory,
        loss,
        run,
        name="memory",
        n_steps=n_steps,
        learning_rate=learning_rate,
        final_learning_rate=0.01 * learning_rate,
        gradient_norm=1.0,
        seed=seed,
        validate=validate,
        every=every,
        on_row=on_row,
        progress=progress,
    )


def make_evaluator(
    policy: WorldModelPolicy,
    make_env: Callable[[], gym.Env[Any, Any]],
    n_envs: int = 16,
    n_workers: int = 0,
    patience: int | None = 100,
) -> Evaluator:
    """What plays a population of controllers with the policy's vision and memory.

    :param make_env: picklable, if there are workers; with :func:`make_repeating`, if the policy repeats actions
    :param n_envs: played at once, in each process
    :param n_workers: processes of one thread; 0 for this one
    :param patience: see :class:`~ardae_rl.world_models.evolution.RolloutEvaluator`
    """
    make = partial(RolloutEvaluator, make_env, policy, n_envs, patience)
    return ProcessEvaluator(make, n_workers) if n_workers else make()


def make_dream_evaluator(dream: Dream, max_steps: int, n_workers: int = 0) -> Evaluator:
    """What plays a population of controllers in a dream.

    :param max_steps: after which an episode ends
    :param n_workers: processes of one thread; 0 for this one
    """
    make = partial(DreamEvaluator, dream, max_steps)
    return ProcessEvaluator(make, n_workers) if n_workers else make()


def evolve_controller(
    policy: WorldModelPolicy,
    evaluator: Evaluator,
    run: Run,
    *,
    n_generations: int,
    population_size: int = 16,
    sigma: float = 0.1,
    seed: int = 0,
    **arguments: Any,
) -> Evolution:
    """Evolve C from its present parameters by CMA-ES; it ends as the best mean of the search on the held-out seeds.

    :param evaluator: of :func:`make_evaluator` or :func:`make_dream_evaluator`
    :param arguments: of :func:`~ardae_rl.world_models.evolution.evolve`
    """
    start = policy.controller_parameters.detach().cpu().numpy().astype(np.float64)
    es = CMAES(start, sigma, population_size, seed=seed)
    evolution = evolve(es, evaluator, n_generations, seed=seed, run=run, checkpoint="controller", **arguments)
    assert evolution.best_mean is not None
    policy.controller_parameters.data = th.as_tensor(evolution.best_mean, dtype=th.float32, device=policy.device)
    return evolution


def dream_starts(latents: LatentStore) -> tuple[th.Tensor, th.Tensor]:
    """Posteriors of the first frames of all episodes, mean and ln standard deviation, (n, z_dim) each.

    Dreams that begin elsewhere would have to do without what the memory knows by then.
    """
    firsts = [(mean[0], log_std[0]) for mean, log_std in (latents[number] for number in range(len(latents)))]
    mean, log_std = (th.from_numpy(np.array(part, dtype=np.float32)) for part in zip(*firsts, strict=True))
    return mean, log_std


def _split(store: FrameStore, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Episodes for training and validation; of a store too small for both, all for either."""
    training, held_out = store.split(VALIDATION_SHARE, seed)
    everything = np.arange(len(store))
    return (training, held_out) if len(training) and len(held_out) else (everything, everything)


def _foresight(policy: WorldModelPolicy, batch: SequenceBatch) -> dict[str, float]:
    """Errors at those horizons that the sequences are long enough for, after half of the longest."""
    n = batch.mask.shape[1]
    warm_up = max(1, n // 2)
    horizons = [horizon for horizon in HORIZONS if warm_up + horizon - 1 <= n]
    whole = batch.mask[:, : warm_up + max(horizons) - 1].all(1) if horizons else th.zeros(1)
    return open_loop_errors(policy.memory, batch, warm_up, horizons) if bool(whole.any()) else {}
