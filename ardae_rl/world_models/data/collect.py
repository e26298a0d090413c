"""Fill a store with episodes that a policy plays."""

from collections.abc import Callable
from contextlib import ExitStack, closing

from ardae_envs.collection import SupportsPredict
from ardae_rl.common.checks import check_count
from ardae_rl.runs.progress import progress_bar
from ardae_rl.world_models.data.frame_store import FrameStore, describe_actions
from ardae_rl.world_models.data.playing import Env, Preprocess, frame_shape, play


def collect(
    store: FrameStore,
    make_env: Callable[[], Env],
    policy: SupportsPredict,
    *,
    n_episodes: int,
    n_envs: int = 1,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    on_step: Callable[[int], bool] | None = None,
    progress: bool = False,
) -> int:
    """Play episodes until the store has the given number of episodes, including earlier ones.

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
    store is the same with or without interruptions, and with any number of environments.

    :param store: Store of the preprocessed frames and the environment's actions.
    :param make_env: Function that makes an environment, not vectorized, whose observations are frames.
    :param policy: SB3 model, or any object with its ``predict``. It acts on the environment's own observations.
    :param n_episodes: Number of episodes in the store at the end.
    :param n_envs: Number of environments played at once, with one call of the policy per step.
    :param preprocess: Preprocessing of the stored frames (n, height, width, 3); None for none.
    :param seed: Seed of the first episode.
    :param on_step: Called with the number of steps since the last call, after each step of all environments. The
        collection stops when it returns False.
    :param progress: Whether to show a progress bar.
    :return: Number of environment steps made, including those of unfinished episodes, which are dropped.
    :raises ValueError: For inconsistent arguments, or actions that are not finite.
    """
    check_count("n_envs", n_envs)
    made = 0

    def count_steps(n: int) -> bool:
        nonlocal made
        made += n
        return on_step is None or on_step(n)

    if len(store) >= n_episodes:
        return 0
    seeds = range(seed + len(store), seed + n_episodes)
    with ExitStack() as stack:
        envs = [stack.enter_context(closing(make_env())) for _ in range(n_envs)]
        _check_fits(store, envs[0], preprocess)
        update = stack.enter_context(progress_bar("episodes", n_episodes, progress))
        for episode in stack.enter_context(closing(play(envs, policy, seeds, preprocess, on_step=count_steps))):
            store.append(episode)
            update(len(store))
    return made


def _check_fits(store: FrameStore, env: Env, preprocess: Preprocess | None) -> None:
    """:raises ValueError: Unless the environment has the store's frames and actions."""
    shape, actions = frame_shape(env, preprocess), describe_actions(env.action_space)
    if shape != store.frame_shape:
        raise ValueError(f"`preprocess` must return frames of shape {store.frame_shape}, got {shape}")
    if actions != store.actions:
        raise ValueError(f"`make_env` must have the store's action space, {store.actions}, got {actions}")
