"""World Models as an SB3 algorithm: data, vision, memory and controller, one after another, for some rounds."""

import json
import math
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecTransposeImage

import ardae_envs  # noqa: F401 (registers environments)
from ardae_envs.collection import Mixture, RandomWeights, StickyRandom, SupportsPredict
from ardae_rl.common.callbacks import ShowSteps
from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.runs import progress
from ardae_rl.runs.run import History, Run
from ardae_rl.runs.tables import write_csv
from ardae_rl.world_models.data import FrameStore, LatentStore, collect
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.evolution import Evaluator, Evolution
from ardae_rl.world_models.frame_policy import Decisions
from ardae_rl.world_models.memory import Z_LOSSES
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.stages import (
    dream_starts,
    encode_frames,
    evolve_controller,
    make_dream_evaluator,
    make_evaluator,
    make_repeating,
    open_store,
    train_memory,
    train_vision,
)

SelfWorldModels = TypeVar("SelfWorldModels", bound="WorldModels")
MakeEnv = Callable[[], gym.Env[Any, Any]]

SEARCHES = ("environment", "dream")

# Where data and search may use others than the environment itself: it draws the same frames faster, or starts anywhere
_COLLECTION = {"CarRacing-v3": "ardae/CarRacingRandomStart-v0"}
_SEARCH = {"CarRacing-v3": "ardae/CarRacingFast-v0"}
_SETTINGS = "settings.json"
_DREAM_STEPS = 1000  # of an episode in a dream, where the environment's has no limit
_ENDLESS = 10**9  # generations; the number of environment steps ends the search


class WorldModels(BaseAlgorithm):
    """Vision, memory and controller (V, M, C), trained one after another.

    Reference: Ha and Schmidhuber (2018), World Models, https://arxiv.org/abs/1803.10122.

    A round of ``learn``: episodes are collected (by random policies; in later rounds by the controller too), V is
    trained on their frames, M on their latents, and C is evolved by CMA-ES on the return. Every stage leaves its
    checkpoints in the folder and goes on from them, in the same round of an object with the same settings, and a CSV
    file of what it measured.

    ``num_timesteps`` counts environment steps, those of the search among them. With ``action_repeat`` in the policy's
    arguments, a decision counts for as many steps; decisions are what ``patience`` and lengths of sequences count.

    :param policy: "CnnPolicy", or a subclass of ``WorldModelPolicy``
    :param env: the environment that the controller is meant for, or its id; observations are frames of bytes
    :param folder: for data and checkpoints; if None a temporary one, which is deleted with the object
    :param n_iterations: rounds of ``learn``
    :param collection_env: picklable function or id of the environment to collect in; by default the same, and for
        CarRacing-v3 the one with random starts
    :param search: where the controller is evolved: in the "environment", or in the "dream" of V and M. Steps in a dream
        are not counted
    :param search_env: likewise, of the environment in which it is; for CarRacing-v3 the fast one
    :param temperature: of the dream; see :class:`~ardae_rl.world_models.dream.Dream`
    :param n_generations: of a search in the dream; one in the environment goes on for as many steps as are left
    :param n_episodes: collected in each round
    :param vision_steps: gradient steps of V in the first round; later ones take half
    :param vision_learning_rate: of V
    :param memory_steps: gradient steps of M, likewise
    :param memory_learning_rate: of M
    :param sequence_length: of M's training
    :param z_loss: of M: "nll", "bound" or "gaussian_kl", see :func:`~ardae_rl.world_models.memory.z_loss`
    :param reward_weight: of the reward's error in M's loss
    :param done_factor: of steps that end an episode, in M's loss
    :param population_size: of the evolution
    :param sigma: first standard deviation of its steps
    :param seeds_per_generation: episodes of each candidate, the same for all
    :param evaluate_every: generations after which the distribution's mean is evaluated on seeds held out
    :param n_held_out: seeds held out
    :param patience: an episode of the search is given up after so many steps without a positive reward
    :param n_envs: environments played at once, in each process
    :param n_workers: processes of the search; 0 for this one alone
    :param stats_window_size: as in SB3
    :param tensorboard_log: folder for tensorboard
    :param policy_kwargs: arguments of the policy
    :param verbose: 0 nothing, 1 info, 2 debug
    :param seed: seed of all random generators
    :param device: of the networks
    :param _init_setup_model: whether to build the networks at once
    :raises ValueError: for arguments outside of what is accepted
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"CnnPolicy": WorldModelPolicy}
    policy: WorldModelPolicy

    def __init__(
        self,
        policy: str | type[WorldModelPolicy],
        env: GymEnv | str | None,
        folder: str | Path | None = None,
        n_iterations: int = 1,
        collection_env: str | MakeEnv | None = None,
        search: str = "environment",
        search_env: str | MakeEnv | None = None,
        temperature: float = 1.0,
        n_generations: int = 100,
        n_episodes: int = 200,
        vision_steps: int = 4000,
        vision_learning_rate: float = 1e-3,
        memory_steps: int = 1000,
        memory_learning_rate: float = 1e-3,
        sequence_length: int = 250,
        z_loss: str = "nll",
        reward_weight: float = 1.0,
        done_factor: float = 1.0,
        population_size: int = 16,
        sigma: float = 0.1,
        seeds_per_generation: int = 2,
        evaluate_every: int = 10,
        n_held_out: int = 16,
        patience: int | None = 100,
        n_envs: int = 16,
        n_workers: int = 0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=vision_learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete),
        )
        self._temporary = tempfile.TemporaryDirectory(prefix="world_models_") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary is not None else Path(str(folder))
        self.n_iterations, self.collection_env = n_iterations, collection_env
        self.search, self.search_env = search, search_env
        self.temperature, self.n_generations = temperature, n_generations
        self.n_episodes, self.sequence_length, self.z_loss = n_episodes, sequence_length, z_loss
        self.vision_steps, self.vision_learning_rate = vision_steps, vision_learning_rate
        self.memory_steps, self.memory_learning_rate = memory_steps, memory_learning_rate
        self.reward_weight, self.done_factor = reward_weight, done_factor
        self.population_size, self.sigma, self.seeds_per_generation = population_size, sigma, seeds_per_generation
        self.evaluate_every, self.n_held_out, self.patience = evaluate_every, n_held_out, patience
        self.n_envs_at_once, self.n_workers = n_envs, n_workers
        self.iteration = 0  # rounds that are over
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_choice("z_loss", self.z_loss, Z_LOSSES)
        check_choice("search", self.search, SEARCHES)
        for name in (
            "n_iterations",
            "n_episodes",
            "vision_steps",
            "memory_steps",
            "seeds_per_generation",
            "n_held_out",
            "n_generations",
        ):
            check_positive(name, getattr(self, name))
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        policy: Any = self.policy_class(self.observation_space, self.action_space, **self.policy_kwargs)
        self.policy = policy.to(self.device)

    def learn(
        self: SelfWorldModels,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "WorldModels",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfWorldModels:
        """``n_iterations`` rounds with about so many environment steps in all, at least one generation in each.

        Callbacks are called after a collection and after every generation.

        :param log_interval: generations between lines of the log
        """
        total, given = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name)
        with progress.progress_bar("environment steps", total, progress_bar) as update:
            callbacks = CallbackList([given, ShowSteps(update)])
            callbacks.init_callback(self)
            callbacks.on_training_start(locals(), globals())
            first = self.num_timesteps
            for i in range(self.n_iterations):
                if not self._round(first + (total - first) * (i + 1) // self.n_iterations, callbacks, log_interval):
                    break
            callbacks.on_training_end()
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """As SB3's; the state is that of the memory, (h, c)."""
        return self.policy.predict(observation, state, episode_start, deterministic)

    def collect(self, callback: BaseCallback | None = None) -> bool:
        """This round's episodes, as far as they are not there yet; False if the callback ended it."""
        store, seed = self.store(), self.seed or 0
        before, going_on = self.num_timesteps, True
        earlier = int(store.lengths[: self.iteration * self.n_episodes].sum())  # of the rounds before

        def on_step(n: int) -> bool:
            nonlocal going_on
            self.num_timesteps += n * self.policy.action_repeat
            going_on = _tell(callback)
            return going_on

        collect(
            store,
            self._make_env(self.collection_env, _COLLECTION),
            self._collector(seed),
            n_episodes=(self.iteration + 1) * self.n_episodes,
            n_envs=self.n_envs_at_once,
            preprocess=self.policy.see,
            seed=seed,
            on_step=on_step,
            progress=self.verbose > 0,
        )
        # What was there already counts, too
        self.num_timesteps = before + (store.n_steps - earlier) * self.policy.action_repeat
        return going_on

    def train_vision(self) -> History:
        """V on all frames so far; see :func:`~ardae_rl.world_models.stages.train_vision` for the rows."""
        run = self._run()
        rows = train_vision(
            self.policy,
            self.store(),
            run,
            n_steps=self._share(self.vision_steps),
            learning_rate=self.vision_learning_rate,
            seed=self.seed or 0,
            on_row=partial(self._record_fit, "vision", self._before(self.vision_steps)),
            progress=self.verbose > 0,
        )
        write_csv(run.folder / "vision.csv", rows)
        return rows

    def train_memory(self) -> History:
        """M on the latents that this V gives; see :func:`~ardae_rl.world_models.stages.train_memory` for the rows."""
        store, run, latents = self.store(), self._run(), self.latents()
        rows = train_memory(
            self.policy,
            store,
            latents,
            run,
            n_steps=self._share(self.memory_steps),
            length=self.sequence_length,
            z_loss=self.z_loss,
            learning_rate=self.memory_learning_rate,
            reward_weight=self.reward_weight,
            done_factor=self.done_factor,
            seed=self.seed or 0,
            on_row=partial(self._record_fit, "memory", self._before(self.memory_steps)),
            progress=self.verbose > 0,
        )
        write_csv(run.folder / "memory.csv", rows)
        return rows

    def evolve_controller(
        self, until: int, callback: BaseCallback | None = None, log_interval: int = 1
    ) -> tuple[Evolution, bool]:
        """C, until ``num_timesteps`` is there, at least for a generation; whether the callback let it end so.

        The round is over after it.
        """
        before, going_on, run = self.num_timesteps, True, self._run()

        def after_generation(evolution: Evolution, _: Any) -> bool:
            nonlocal going_on
            row = evolution.rows[-1]
            self.num_timesteps = before + self._steps(row)
            due = int(row["generation"]) % log_interval == 0
            self._record("controller", row.items(), self.num_timesteps if due else None)
            going_on = _tell(callback)
            return going_on and (self.search == "dream" or self.num_timesteps < until)

        with self._evaluator() as evaluator:
            evolution = evolve_controller(
                self.policy,
                evaluator,
                run,
                n_generations=self.n_generations if self.search == "dream" else _ENDLESS,
                callback=after_generation,
                **self.search_arguments,
            )
        write_csv(run.folder / "controller.csv", evolution.rows)
        self.num_timesteps = before + self._steps(evolution.rows[-1])
        self.iteration += going_on
        return evolution, going_on

    @property
    def search_arguments(self) -> dict[str, Any]:
        """Of :func:`~ardae_rl.world_models.stages.evolve_controller`: what the search depends on beside its length."""
        return {
            "population_size": self.population_size,
            "sigma": self.sigma,
            "seed": (self.seed or 0) + self.iteration,
            "seeds_per_generation": self.seeds_per_generation,
            "evaluate_every": self.evaluate_every,
            "held_out_seeds": range(self.n_held_out),
        }

    def store(self) -> FrameStore:
        """Of all rounds' episodes."""
        return open_store(self.policy, self.folder / "frames")

    def latents(self) -> LatentStore:
        """Of all rounds' frames, as this round's V has them."""
        return encode_frames(self.policy, self.store(), self._run().folder / "latents", progress=self.verbose > 0)

    def _round(self, until: int, callback: BaseCallback, log_interval: int) -> bool:
        if not self.collect(callback):
            return False
        self.train_vision()
        self.train_memory()
        return self.evolve_controller(until, callback, log_interval)[1]

    def _run(self) -> Run:
        """Where this round's stages have their checkpoints."""
        run = Run(self.folder / f"round_{self.iteration}")
        self._check_settings(run.folder)
        return run

    def _evaluator(self) -> Evaluator:
        if self.search == "environment":
            make_env = self._make_env(self.search_env, _SEARCH)
            return make_evaluator(self.policy, make_env, self.n_envs_at_once, self.n_workers, self.patience)
        spec = self._spec()
        limit = _DREAM_STEPS if spec is None or spec.max_episode_steps is None else spec.max_episode_steps
        dream = Dream(self.policy, dream_starts(self.latents()), self.temperature, done_factor=self.done_factor)
        return make_dream_evaluator(dream, math.ceil(limit / self.policy.action_repeat), self.n_workers)

    def _steps(self, row: dict[str, float]) -> int:
        """Of the environment, in an evolution so far."""
        if self.search == "dream":
            return 0
        return int(row["n_steps"] + row["n_held_out_steps"]) * self.policy.action_repeat

    def _share(self, n_steps: int) -> int:
        """Of gradient steps: after the first round, the models have learnt already."""
        return n_steps if self.iteration == 0 else max(1, n_steps // 2)

    def _before(self, n_steps: int) -> int:
        """Gradient steps of earlier rounds."""
        return 0 if self.iteration == 0 else n_steps + (self.iteration - 1) * self._share(n_steps)

    def _collector(self, seed: int) -> SupportsPredict:
        """Random policies; after the first round, the controller in half of the episodes."""
        seeds = np.random.SeedSequence([seed, self.iteration]).generate_state(4).tolist()
        policies: list[SupportsPredict] = [StickyRandom(self.action_space, seed=seeds[0])]
        weights = [1.0]
        if isinstance(self.action_space, spaces.Box):
            policies.append(RandomWeights(self.action_space, "cauchy", (0.0, 0.3), seed=seeds[1]))
            weights.append(1.0)
        if self.iteration:
            policies.append(Decisions(self.policy))
            weights.append(sum(weights))
        return Mixture(policies, weights, seed=seeds[2])

    def _make_env(self, wanted: str | MakeEnv | None, instead: dict[str, str]) -> MakeEnv:
        if callable(wanted):
            return partial(make_repeating, wanted, self.policy.action_repeat)
        if wanted is None:
            spec = self._spec()
            if spec is None:
                raise ValueError(
                    "env has no id: accepted are registered environments, or collection_env and search_env with it"
                )
            wanted = instead.get(spec.id, spec.id)
        return partial(make_repeating, wanted, self.policy.action_repeat)

    def _spec(self) -> EnvSpec | None:
        spec: EnvSpec | None = self.env.get_attr("spec")[0] if self.env is not None else None
        return spec

    def _record_fit(self, stage: str, before: int, row: dict[str, float]) -> None:
        """Against gradient steps, as the environment is not stepped."""
        self._record(stage, row.items(), before + int(row["step"]))

    def _record(self, stage: str, values: Iterable[tuple[str, float]], dump_at: int | None = None) -> None:
        logger = getattr(self, "_logger", None)  # which SB3 makes in ``learn``
        if logger is not None:
            for name, value in values:
                logger.record(f"{stage}/{name}", value)
            if dump_at is not None:
                logger.dump(dump_at)

    def _check_settings(self, folder: Path) -> None:
        """What the stages' checkpoints depend on; another model's are not gone on with."""
        own = {
            name: getattr(self, name)
            for name in (
                "n_episodes",
                "vision_steps",
                "memory_steps",
                "sequence_length",
                "z_loss",
                "search",
                "temperature",
                "population_size",
            )
        } | {"seed": self.seed or 0, "policy_kwargs": repr(sorted((self.policy_kwargs or {}).items()))}
        path = folder / _SETTINGS
        if not path.exists():
            path.write_text(json.dumps(own, indent=2) + "\n")
        there = json.loads(path.read_text())
        for name, value in own.items():
            if value != there.get(name):
                raise ValueError(f"{name}={value!r}: accepted is {there.get(name)!r}, which {folder} was made with")

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Without SB3's transposition of frames: the policy takes them as the environment gives them."""
        if isinstance(env, VecEnv):
            return env.venv if isinstance(env, VecTransposeImage) else env
        monitored = Monitor(env) if monitor_wrapper else env
        return DummyVecEnv([lambda: monitored])

    def _excluded_save_params(self) -> list[str]:
        temporary = ["folder"] if self._temporary is not None else []  # a loaded model has its own
        return [*super()._excluded_save_params(), "_temporary", *temporary]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


def _tell(callback: BaseCallback | None) -> bool:
    """Whether training goes on."""
    if callback is None:
        return True
    callback.update_locals(locals())
    return callback.on_step()
