"""Fill a store with episodes that a policy plays."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from functools import partial
from itertools import count

from ardae_envs.collection import SupportsPredict
from ardae_rl.common.checks import check_count
from ardae_rl.runs.progress import progress_bar
from ardae_rl.world_models.data.frame_store import Episode, FrameStore, describe_actions
from ardae_rl.world_models.data.playing import Env, Preprocess, frame_shape, play
from ardae_rl.world_models.data.process_playing import play_in_processes


def collect(
    store: FrameStore,
    make_env: Callable[[], Env],
    policy: SupportsPredict,
    *,
    n_episodes: int | None = None,
    n_steps: int | None = None,
    n_envs: int = 1,
    n_processes: int = 0,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    policy_name: str | None = None,
    deterministic: bool = False,
    on_step: Callable[[int], bool] | None = None,
    progress: bool = False,
) -> int:
    """Play episodes until the store is full or has the given number of episodes or steps, including earlier ones.

    Example:

    >>> import tempfile
    >>> import gymnasium as gym
    >>> from ardae_envs.collection import StickyRandom
    >>> from ardae_rl.world_models.data import FrameStore, collect
    >>> def make_env():
    ...     return gym.make("ardae/CarRacingFast-v0", max_episode_steps=5)
    >>> env, folder = make_env(), tempfile.TemporaryDirectory()
    >>> store = FrameStore(folder.name, (96, 96, 3), env.action_space, preprocessing="none")
    >>> collect(store, make_env, StickyRandom(env.action_space, seed=0), n_episodes=2)
    10
    >>> len(store), store[0].frames.shape
    (2, (6, 96, 96, 3))

    Episode k of the store is played with the seed ``seed`` + k, so that the same call resumes an interrupted
    collection. If the policy has a generator (see :func:`~ardae_rl.world_models.data.playing.play`), the resulting
    store is the same with or without interruptions, and with any number of environments or processes.

    :param store: Store of the preprocessed frames and the environment's actions.
    :param make_env: Function that makes an environment, not vectorized, whose observations are frames.
    :param policy: SB3 model, or any object with its ``predict``. It acts on the environment's own observations.
    :param n_episodes: Number of episodes in the store at the end.
    :param n_steps: Number of steps in the store at the end, in whole episodes. Give either this or ``n_episodes``.
    :param n_envs: Number of environments played at once in this process, with one call of the policy per step.
    :param n_processes: Number of processes that play one environment each; 0 to play in this process. Otherwise
        ``make_env``, ``policy`` and ``preprocess`` must be picklable, and a script must guard its ``__main__``.
    :param preprocess: Preprocessing of the stored frames (n, height, width, 3); None for none.
    :param seed: Seed of the first episode.
    :param policy_name: Name stored with the episodes; by default the name of the policy's class.
    :param deterministic: Passed to ``predict``.
    :param on_step: Called with the number of steps since the last call, after each step of all environments (with
        processes, after each episode). The collection stops when it returns False.
    :param progress: Whether to show a progress bar.
    :return: Number of environment steps made, including those of unfinished episodes, which are dropped.
    :raises ValueError: For inconsistent arguments, or actions that are not finite.
    """
    if (n_episodes is None) == (n_steps is None):
        raise ValueError(f"`n_steps` must be given if and only if `n_episodes` is None, got {n_steps!r}")
    check_count("n_envs", n_envs)
    check_count("n_processes", n_processes, 0)
    if n_processes > 0 and n_envs > 1:
        raise ValueError(f"`n_envs` must be 1 with `n_processes` > 0, got {n_envs}")
    made = 0

    def count_steps(n: int) -> bool:
        nonlocal made
        made += n
        return on_step is None or on_step(n)

    def held() -> int:
        return len(store) if n_steps is None else store.n_steps

    total = n_episodes if n_steps is None else n_steps
    assert total is not None
    if held() >= total or store.full:
        return 0
    first = seed + len(store)
    seeds = count(first) if n_episodes is None else range(first, seed + n_episodes)
    with ExitStack() as stack:
        envs = [stack.enter_context(closing(make_env())) for _ in range(n_envs)]
        _check_fits(store, envs[0], preprocess)
        update = stack.enter_context(progress_bar("episodes" if n_steps is None else "steps", total, progress))
        player = partial(play_in_processes, n_processes, make_env) if n_processes else partial(play, envs)
        played: Generator[Episode, None, None] = player(
            policy, seeds, preprocess, policy_name=policy_name, deterministic=deterministic, on_step=count_steps
        )
        for episode in stack.enter_context(closing(played)):
            store.append(episode)
            update(held())
            if held() >= total or store.full:
                break
    return made


def _check_fits(store: FrameStore, env: Env, preprocess: Preprocess | None) -> None:
    """:raises ValueError: Unless the environment has the store's frames and actions."""
    shape, actions = frame_shape(env, preprocess), describe_actions(env.action_space)
    if shape != store.frame_shape:
        raise ValueError(f"`preprocess` must return frames of shape {store.frame_shape}, got {shape}")
    if actions != store.actions:
        raise ValueError(f"`make_env` must have the store's action space, {store.actions}, got {actions}")
