"""World Models as an SB3 algorithm: rounds of collection, vision, memory and controller."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecTransposeImage

from ardae_rl.common.callbacks import ShowSteps, callback_list, seconds_left
from ardae_rl.common.checks import check_choice, check_count, check_dict
from ardae_rl.common.copies import deep_copy
from ardae_rl.common.optional import require
from ardae_rl.common.records import qualified_name
from ardae_rl.environments import EnvDescription, env_record
from ardae_rl.runs import progress
from ardae_rl.runs.files import locked
from ardae_rl.runs.run import History, Run
from ardae_rl.runs.tables import write_csv
from ardae_rl.world_models.collection import collection_policy, open_store
from ardae_rl.world_models.controller_envs import make_training_venv
from ardae_rl.world_models.data import FrameStore, LatentStore, collect
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.environments import (
    COLLECTION_ENVS,
    SEARCH_ENVS,
    MakeEnv,
    Source,
    env_identity,
    env_maker,
    resolve,
)
from ardae_rl.world_models.evolution import Evaluator, Evolution
from ardae_rl.world_models.memory_stage import MemoryStage, encode_frames
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.ppo_stage import PPOStage
from ardae_rl.world_models.resume import check_settings, is_recorded
from ardae_rl.world_models.search_stage import SearchStage, dream_starts, make_dream_evaluator, make_evaluator
from ardae_rl.world_models.seeds import COLLECTION, first_training_seed
from ardae_rl.world_models.stage import steps_in_round
from ardae_rl.world_models.vision_stage import VisionStage

SelfWorldModels = TypeVar("SelfWorldModels", bound="WorldModels")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# How the controller is trained: evolved in the environment or in dreams, or by PPO in the environment
SEARCHES = ("environment", "dream", "ppo")
_DEFAULT_DREAM_STEPS = 1000  # maximum number of environment steps of a dream if the environment has no time limit


def _exclusively(
    method: Callable[Concatenate[SelfWorldModels, Arguments], Result],
) -> Callable[Concatenate[SelfWorldModels, Arguments], Result]:
    """Lock the model's folder against other processes while a method runs."""

    @wraps(method)
    def run(self: SelfWorldModels, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with self.exclusive():
            return method(self, *args, **kwargs)

    return run


class WorldModels(BaseAlgorithm):
    """World Models: a vision model V, a memory M and a controller C, trained one after another.

    Reference: Ha and Schmidhuber (2018), World Models, https://arxiv.org/abs/1803.10122.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl import WorldModels
    >>> def make_env():
    ...     return gym.make("ardae/CarRacingFast-v0", max_episode_steps=10)
    >>> model = WorldModels(
    ...     "CnnPolicy",
    ...     "CarRacing-v3",
    ...     n_episodes=2,
    ...     collection_env=make_env,
    ...     search_env=make_env,
    ...     vision_kwargs={"n_steps": 2},
    ...     memory_kwargs={"n_steps": 2, "sequence_length": 5},
    ...     search_kwargs={"population_size": 3, "seeds_per_generation": 1, "n_held_out": 1},
    ...     policy_kwargs={"z_dim": 4, "vision_width": 4, "memory_hidden": 8},
    ...     n_envs=2,
    ... ).learn(50)
    >>> observation, _ = gym.make("CarRacing-v3").reset(seed=0)
    >>> action, state = model.predict(observation, deterministic=True)
    >>> action.shape
    (3,)

    In a round of ``learn``, episodes are collected (by random policies, and in later rounds by the controller too), V
    is trained on their frames, M on their latents, and C is evolved by CMA-ES to maximize the return. With
    ``search="ppo"`` and ``controller_input="frames"`` in ``policy_kwargs``, C is trained by PPO instead; its inputs are
    the last frames, through convolutions initialized with V's.

    Every stage writes its checkpoints and a CSV file of its metrics into the folder. An interrupted training resumes
    from them, in the same round; settings that differ from those of the checkpoints are refused. Only one process at a
    time can work in a folder.

    The environments for collection and search are new instances, with the arguments, time limits and wrappers of
    ``env``. ``collection_env`` and ``search_env`` must be given if ``env`` is not registered, or has a wrapper that
    does not record its arguments.

    ``num_timesteps`` counts environment steps, including those of the search. With ``action_repeat`` in
    ``policy_kwargs``, a decision counts as that many steps; ``patience`` and ``sequence_length`` count decisions.

    :param policy: ``"CnnPolicy"``, or a subclass of ``WorldModelPolicy``.
    :param env: Environment that the controller is trained for, or its id. Its observations are uint8 frames.
    :param folder: Folder for data and checkpoints; None for a temporary one, which is deleted with the object.
    :param n_iterations: Number of rounds in a call of ``learn``.
    :param n_episodes: Number of episodes collected in each round.
    :param collection_env: Id of the environment to collect in, or a function that makes it. By default ``env`` itself;
        for CarRacing-v3 a faster one with random starts.
    :param search: Where the controller is evolved: in the ``"environment"``, or in the ``"dream"`` of V and M, whose
        steps are not counted. ``"ppo"`` trains it in the environment by PPO.
    :param search_env: Id of the environment to search in, or a function that makes it, picklable if there are workers.
        By default ``env`` itself; for CarRacing-v3 a faster one.
    :param vision_kwargs: Settings of V's training, see :class:`~ardae_rl.world_models.vision_stage.VisionStage`.
    :param memory_kwargs: Settings of M's training, see :class:`~ardae_rl.world_models.memory_stage.MemoryStage`.
    :param search_kwargs: Settings of the search, see :class:`~ardae_rl.world_models.search_stage.SearchStage`; with
        ``search="ppo"`` those of :class:`~ardae_rl.world_models.ppo_stage.PPOStage`.
    :param n_envs: Number of environments that each process plays at once, and number of environments that PPO trains
        in.
    :param n_workers: Number of worker processes of the search; 0 to search in this process. With PPO, the workers play
        the held-out episodes. A number above 0 also puts each of the ``n_envs`` training environments into its own
        process, and PPO's updates use at least this number of threads.
    :param stats_window_size: As in SB3.
    :param tensorboard_log: Folder of TensorBoard logs; None for no logs.
    :param policy_kwargs: Arguments of the policy, see :class:`~ardae_rl.world_models.policies.WorldModelPolicy`.
    :param verbose: 0 for no output, 1 for information, 2 for debugging.
    :param seed: Seed of all random generators.
    :param device: Device of the networks.
    :param _init_setup_model: Whether to build the networks in the constructor.
    :raises ValueError: For a value outside of its range.
    :raises TypeError: For a value of a wrong type.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"CnnPolicy": WorldModelPolicy}
    policy: WorldModelPolicy
    _has_lock = False

    def __init__(
        self,
        policy: str | type[WorldModelPolicy],
        env: GymEnv | str | None,
        folder: str | Path | None = None,
        n_iterations: int = 1,
        n_episodes: int = 200,
        collection_env: str | MakeEnv | None = None,
        search: str = "environment",
        search_env: str | MakeEnv | None = None,
        vision_kwargs: dict[str, Any] | None = None,
        memory_kwargs: dict[str, Any] | None = None,
        search_kwargs: dict[str, Any] | None = None,
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
        if not isinstance(policy, str | type):
            raise TypeError(f"`policy` must be 'CnnPolicy' or a class, got {policy!r}")
        check_dict("policy_kwargs", policy_kwargs)
        self.vision_stage = VisionStage.from_kwargs(vision_kwargs)
        self.memory_stage = MemoryStage.from_kwargs(memory_kwargs)
        self.search_stage = SearchStage.from_kwargs(None if search == "ppo" else search_kwargs)
        self.ppo_stage = PPOStage.from_kwargs(search_kwargs) if search == "ppo" else None
        super().__init__(
            policy,
            env,
            learning_rate=self.vision_stage.learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete),
        )
        self._temporary = _temporary_folder() if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary is not None else Path(str(folder))
        self.n_iterations, self.n_episodes = n_iterations, n_episodes
        self.collection_env, self.search, self.search_env = collection_env, search, search_env
        self.n_parallel_envs, self.n_workers = n_envs, n_workers  # SB3 owns the name `n_envs`
        self.iteration = 0  # number of completed rounds
        self._steps_before_round = 0  # ``num_timesteps`` at the start of this round
        self.env_description: EnvDescription | None = None  # saved with the model, unlike the environment
        self._env_record: Any = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_choice("search", self.search, SEARCHES)
        check_count("n_iterations", self.n_iterations)
        check_count("n_episodes", self.n_episodes)
        check_count("n_envs", self.n_parallel_envs)
        check_count("n_workers", self.n_workers, 0)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._describe_env()
        policy: Any = self.policy_class(self.observation_space, self.action_space, **self.policy_kwargs)
        self.policy = policy.to(self.device)
        if (self.policy.stacked_policy is not None) != (self.search == "ppo"):
            controller_input = self.policy.controller_input
            raise ValueError(
                "`search` must be 'ppo' with policy_kwargs={'controller_input': 'frames'}, and only then, got "
                f"{self.search!r} and {controller_input!r}"
            )
        n_components = self.policy.memory.n_components
        if self.memory_stage.z_loss == "gaussian_kl" and n_components != 1:
            raise ValueError(f"`policy_kwargs['n_components']` must be 1 for 'gaussian_kl', got {n_components}")

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As in SB3."""
        super().set_env(env, force_reset)
        self._describe_env()

    @_exclusively
    def learn(
        self: SelfWorldModels,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "WorldModels",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfWorldModels:
        """Run ``n_iterations`` rounds with about ``total_timesteps`` environment steps in total.

        Each round has at least one generation. Callbacks are called after each step of the collection, and after each
        generation or, with PPO, each update. With PPO, an interrupted training must be resumed with the same number of
        steps, because the learning rate falls to 0 at its end.

        :param total_timesteps: Number of environment steps.
        :param callback: As in SB3.
        :param log_interval: Number of generations between two log entries; PPO logs each update.
        :param tb_log_name: As in SB3.
        :param reset_num_timesteps: As in SB3.
        :param progress_bar: Whether to show a progress bar of environment steps.
        :raises ValueError: If ``collection_env`` or ``search_env`` cannot be made, or has another action space than
            ``env``.
        :raises FolderInUseError: If another process works in the folder.
        """
        self._check_envs()
        expected = total_timesteps + (0 if reset_num_timesteps else self.num_timesteps)
        with progress.progress_bar("environment steps", expected, progress_bar) as update:
            callbacks: Any = [*callback_list(callback), ShowSteps(update)]
            total, callbacks = self._setup_learn(total_timesteps, callbacks, reset_num_timesteps, tb_log_name)
            if reset_num_timesteps:
                self._steps_before_round = 0
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
        """As in SB3; the state is the memory's, (h, c)."""
        return self.policy.predict(observation, state, episode_start, deterministic)

    @_exclusively
    def collect(self, callback: BaseCallback | None = None) -> bool:
        """Collect the missing episodes of this round; return False if the callback stopped the collection."""
        store, first, end = self.store(), self.iteration * self.n_episodes, (self.iteration + 1) * self.n_episodes
        self._check_collection(store, first)
        self.num_timesteps, continues = self._steps_before_search(), True

        def on_step(n_steps: int) -> bool:
            nonlocal continues
            self.num_timesteps += n_steps * self.policy.action_repeat
            continues = self._notify(callback, stage="collection", n_steps=n_steps)
            return continues

        collect(
            store,
            env_maker(self._collection_env(), self.policy.action_repeat),
            collection_policy(self.policy, self.iteration, self.seed or 0),
            n_episodes=end,
            n_envs=self.n_parallel_envs,
            preprocess=self.policy.preprocess,
            seed=self._first_collection_seed(),
            on_step=on_step,
            progress=self.verbose > 0,
        )
        self.num_timesteps = self._steps_before_search()  # does not count unfinished episodes, which are dropped
        return continues

    @_exclusively
    def train_vision(self) -> History:
        """Train V on all frames so far.

        :return: The rows of :class:`~ardae_rl.world_models.vision_stage.VisionStage`.
        """
        run, stage = self._run(), self.vision_stage
        rows = stage(
            self.policy,
            self._round_store(),
            run,
            iteration=self.iteration,
            seed=self.seed or 0,
            context=self._data_settings(),
            on_row=partial(self._record_fit, stage.name, self._earlier_steps(stage.n_steps)),
            progress=self.verbose > 0,
        )
        write_csv(run.folder / "vision.csv", rows)
        return rows

    @_exclusively
    def train_memory(self) -> History:
        """Train M on the latents of all frames so far.

        :return: The rows of :class:`~ardae_rl.world_models.memory_stage.MemoryStage`.
        """
        run, stage = self._run(), self.memory_stage
        rows = stage(
            self.policy,
            self._round_store(),
            self.latents(),
            run,
            iteration=self.iteration,
            seed=self.seed or 0,
            context=self._data_settings() | self.vision_stage.settings(),
            on_row=partial(self._record_fit, stage.name, self._earlier_steps(stage.n_steps)),
            progress=self.verbose > 0,
        )
        write_csv(run.folder / "memory.csv", rows)
        return rows

    @_exclusively
    def evolve_controller(
        self, until: int, callback: BaseCallback | None = None, log_interval: int = 1
    ) -> tuple[Evolution, bool]:
        """Evolve C, which completes the round.

        :param until: ``num_timesteps`` at which a search in the environment ends, after at least one generation.
        :param callback: Callback that is called after each generation.
        :param log_interval: Number of generations between two log entries.
        :return: The evolution, and False if the callback stopped it.
        :raises ValueError: With ``search="ppo"``.
        """
        before, continues, run = self._steps_before_search(), True, self._run()
        if self.ppo_stage is not None:
            raise ValueError("`search` must be 'environment' or 'dream' to evolve a controller, got 'ppo'")

        def after_generation(evolution: Evolution, _: Any) -> bool:
            nonlocal continues
            row = evolution.rows[-1]
            self.num_timesteps = before + self._env_steps(row)
            due = int(row["generation"]) % log_interval == 0
            self._record("controller", row.items(), self.num_timesteps if due else None)
            continues = self._notify(callback, stage="search", evolution=evolution)
            return continues and (self.search == "dream" or self.num_timesteps < until)

        with self._evaluator() as evaluator:
            evolution = self.search_stage(
                self.policy,
                evaluator,
                run,
                endless=self.search == "environment",
                seed=self._search_seed(),
                context=self._search_context(),
                callback=after_generation,
            )
        write_csv(run.folder / "controller.csv", evolution.rows)
        self._finish_round(before + self._env_steps(evolution.rows[-1]), continues)
        return evolution, continues

    @_exclusively
    def train_controller(self, until: int, callback: BaseCallback | None = None) -> tuple[History, bool]:
        """Train C by PPO, which completes the round.

        :param until: ``num_timesteps`` at which the training ends, not counting steps on held-out seeds. At least one
            update is made.
        :param callback: Callback that is called after each update.
        :return: The rows of the evaluations, and False if the callback stopped the training.
        :raises ValueError: Unless ``search="ppo"``.
        """
        before, continues, run, stage = self._steps_before_search(), True, self._run(), self.ppo_stage
        if stage is None:
            raise ValueError(f"`search` must be 'ppo' to train a controller by gradients, got {self.search!r}")
        if self.iteration == 0 and stage.from_vision:
            self.policy.start_from_vision()
        seconds = seconds_left(callback)

        def after_update(row: dict[str, float]) -> bool:
            nonlocal continues
            self.num_timesteps = before + self._env_steps(row)
            self._record("controller", row.items(), self.num_timesteps)
            continues = self._notify(callback, stage="search", row=row)
            return continues

        makers = [env_maker(env, self.policy.action_repeat) for env in (self._search_env(), self._collection_env())]
        venv = make_training_venv(
            makers,
            self.n_parallel_envs,
            n_frames=self.policy.arguments["n_frames"],
            cropped_rows=self.policy.cropped_rows,
            action_map=self.policy.arguments["action_map"],
            patience=stage.patience,
            bonus=(stage.bonus, stage.bonus_info) if stage.bonus else None,
            gamma=stage.gamma,
            in_processes=self.n_workers > 0,
        )
        with closing(venv), self._evaluator() as evaluator:
            rows = stage(
                self.policy,
                venv,
                evaluator,
                run,
                n_decisions=max(1, (until - before) // self.policy.action_repeat),
                n_threads=self.n_workers,
                share_left=lambda: seconds_left(callback) / seconds if 0 < seconds < math.inf else float(seconds > 0),
                seed=self._search_seed(),
                context=self._search_context(),
                callback=after_update,
            )
        self._finish_round(before + self._env_steps(rows[-1]), continues)
        return rows, continues

    @contextmanager
    def exclusive(self, timeout: float = 0) -> Iterator[None]:
        """Lock the folder against other processes, for longer than ``learn`` and the stages do by themselves.

        :param timeout: Number of seconds to wait for another process; -1 to wait until it has finished.
        :raises FolderInUseError: If another process works in the folder.
        """
        if self._has_lock:
            yield
            return
        with locked(self.folder, timeout):
            self._has_lock = True
            try:
                yield
            finally:
                self._has_lock = False

    def store(self) -> FrameStore:
        """Open the store of all rounds' episodes."""
        return open_store(self.policy, self.folder / "frames")

    def latents(self) -> LatentStore:
        """Return the posteriors of all frames up to this round, encoded by this round's V."""
        folder = self._run().folder / "latents"
        return encode_frames(self.policy, self._round_store(), folder, progress=self.verbose > 0)

    def _round(self, until: int, callback: BaseCallback, log_interval: int) -> bool:
        if not self.collect(callback):
            return False
        self.train_vision()
        self.train_memory()
        if self.ppo_stage is not None:
            return self.train_controller(until, callback)[1]
        return self.evolve_controller(until, callback, log_interval)[1]

    def _finish_round(self, num_timesteps: int, completed: bool) -> None:
        """Begin the next round, unless a callback stopped this one, which can then be resumed."""
        self.num_timesteps = num_timesteps
        if completed:
            self.iteration += 1
            self._steps_before_round = num_timesteps

    def _steps_before_search(self) -> int:
        """Return the number of environment steps before this round, plus those of its episodes collected so far."""
        first, end = self.iteration * self.n_episodes, (self.iteration + 1) * self.n_episodes
        return self._steps_before_round + int(self.store().lengths[first:end].sum()) * self.policy.action_repeat

    def _run(self) -> Run:
        """Return the run whose folder has the checkpoints of this round."""
        return Run(self.folder / f"round_{self.iteration}")

    def _round_store(self) -> FrameStore:
        """Return the store without the episodes of later rounds, which exist if such a round was interrupted."""
        return self.store().first((self.iteration + 1) * self.n_episodes)

    def _evaluator(self) -> Evaluator:
        stage = self.search_stage
        if self.search != "dream":
            make_env = env_maker(self._search_env(), self.policy.action_repeat)
            patience = stage.patience if self.ppo_stage is None else None
            return make_evaluator(self.policy, make_env, self.n_parallel_envs, self.n_workers, patience)
        described = self.env_description
        limit = (None if described is None else described.longest_episode) or _DEFAULT_DREAM_STEPS
        starts, done_factor = dream_starts(self.latents()), self.memory_stage.done_factor
        dream = Dream(self.policy, starts, stage.temperature, done_factor=done_factor)
        return make_dream_evaluator(dream, math.ceil(limit / self.policy.action_repeat), self.n_workers)

    def _env_steps(self, row: dict[str, float]) -> int:
        """Return the number of environment steps of this round's search, given the row of its latest generation."""
        if self.search == "dream":
            return 0
        return int(row["n_steps"] + row["n_held_out_steps"]) * self.policy.action_repeat

    def _first_collection_seed(self) -> int:
        """Return the seed of the first round's first episode; later episodes have consecutive seeds."""
        return first_training_seed(self.seed or 0, COLLECTION)

    def _search_seed(self) -> int:
        """Return the seed of this round's search, which differs between rounds and between seeds of the model."""
        return int(np.random.SeedSequence([self.seed or 0, self.iteration]).generate_state(1)[0])

    def _earlier_steps(self, n_steps: int) -> int:
        """Return the number of gradient steps of earlier rounds."""
        return sum(steps_in_round(n_steps, iteration) for iteration in range(self.iteration))

    def _describe_env(self) -> None:
        if self.env is not None:
            self.env_description, self._env_record = EnvDescription.of_env(self.env), env_record(self.env)

    def _collection_env(self) -> Source:
        return resolve(self.collection_env, self.env_description, COLLECTION_ENVS, "collection_env")

    def _search_env(self) -> Source:
        return resolve(self.search_env, self.env_description, SEARCH_ENVS, "search_env")

    def _check_envs(self) -> None:
        """Make an environment for collection and one for the search, to find errors before hours of training.

        :raises ValueError: If one cannot be made, or has another action space than ``env``.
        :raises ImportError: If the search needs pycma, and it is not installed.
        """
        if self.ppo_stage is None:
            require("cma", "world-models")
        envs = {"collection_env": self._collection_env(), "search_env": self._search_env()}
        for name, source in envs.items():
            with closing(env_maker(source, 1)()) as env:
                if env.action_space != self.action_space:
                    raise ValueError(
                        f"`{name}` must have the action space of `env`, {self.action_space}, got {env.action_space}"
                    )

    def _env_settings(self) -> dict[str, Any]:
        """Return the settings that the first round's episodes depend on, besides their number."""
        seeds = {"seed": self.seed or 0, "first_collection_seed": self._first_collection_seed()}
        return seeds | {"env": self._env_record, "collection_env": env_identity(self._collection_env())}

    def _data_settings(self) -> dict[str, Any]:
        """Return the settings that all stages depend on."""
        policy_settings = {"policy": qualified_name(type(self.policy)), "policy_kwargs": self.policy.arguments}
        return self._env_settings() | {"n_episodes": self.n_episodes} | policy_settings

    def _search_context(self) -> dict[str, Any]:
        """Return the settings that the search depends on, besides its own."""
        where = {"search": self.search, "search_env": env_identity(self._search_env())}
        return self._data_settings() | self.vision_stage.settings() | self.memory_stage.settings() | where

    def _check_collection(self, store: FrameStore, first: int) -> None:
        """Refuse to add episodes to a store that was filled with other settings.

        The first round's episodes do not depend on ``n_episodes``, so that more of them can be collected later.

        :param first: Number of this round's first episode.
        """
        stage = f"collection_{self.iteration}"
        if not is_recorded(store.folder, stage) and len(store) > first:
            if not self.iteration:
                raise ValueError(f"`folder` must have a record of its episodes' settings, got none in {store.folder}")
            raise ValueError(
                f"`n_episodes` must be {len(store) // self.iteration}, because the previous rounds left {len(store)} "
                f"episodes in {store.folder}, got {self.n_episodes}"
            )
        settings = self._env_settings()
        if self.iteration:  # the controller plays, too
            settings = self._search_context() | (self.ppo_stage or self.search_stage).settings()
        check_settings(store.folder, stage, settings)

    def _record_fit(self, stage: str, earlier_steps: int, row: dict[str, float]) -> None:
        """Log a row of vision or memory against gradient steps, because no environment steps are taken."""
        self._record(stage, row.items(), earlier_steps + int(row["step"]))

    def _record(self, stage: str, values: Iterable[tuple[str, float]], dump_at: int | None = None) -> None:
        logger = getattr(self, "_logger", None)  # set by SB3 in ``learn``
        if logger is not None:
            for name, value in values:
                logger.record(f"{stage}/{name}", value)
            if dump_at is not None:
                logger.dump(dump_at)

    def _notify(self, callback: BaseCallback | None, **values: Any) -> bool:
        """Call a callback with ``self`` and these values as its locals; return whether the training continues."""
        if callback is None:
            return True
        callback.update_locals({"self": self, "iteration": self.iteration, **values})
        return callback.on_step()

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Wrap without SB3's transposition of frames: the policy expects them as the environment returns them."""
        if isinstance(env, VecEnv):
            return env.venv if isinstance(env, VecTransposeImage) else env
        monitored = Monitor(env) if monitor_wrapper else env
        return DummyVecEnv([lambda: monitored])

    def __deepcopy__(self: SelfWorldModels, memo: dict[int, Any]) -> SelfWorldModels:
        """Return a copy; a temporary folder is copied, too."""
        copied = deep_copy(self, memo, shared=("_temporary",))
        copied._has_lock = False
        if self._temporary is not None:
            copied._temporary = _temporary_folder()
            copied.folder = Path(copied._temporary.name)
            shutil.copytree(self.folder, copied.folder, dirs_exist_ok=True)
        return copied

    def _excluded_save_params(self) -> list[str]:
        temporary = ["folder"] if self._temporary is not None else []  # a loaded model has its own
        return [*super()._excluded_save_params(), "_temporary", "_has_lock", *temporary]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="world_models_")
