"""Fill a store with episodes that a policy plays."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from functools import partial
from itertools import count

from ardae_envs.collection import SupportsPredict
from ardae_rl.runs.progress import progress_bar
from ardae_rl.world_models.data.frame_store import Episode, FrameStore, describe_actions
from ardae_rl.world_models.data.playing import Env, Preprocess, frame_shape, play
from ardae_rl.world_models.data.processes import play_in_processes


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
    """Play episodes until the store holds as many as asked for, those from before included, or is full.

    Episode k of the store is played with the seed ``seed`` + k. So an interrupted collection goes on by the same call,
    with new seeds; and if the policy has a generator (see :func:`~ardae_rl.world_models.data.playing.play`), the store
    is the same in the end as without the interruption, with any number of environments or processes.

    :param store: of the frames that ``preprocess`` gives, and the environment's actions
    :param make_env: an environment without vectorisation, whose observations are frames
    :param policy: an SB3 model, or whatever has its ``predict``; it acts on the environment's own observations
    :param n_episodes: that the store shall hold
    :param n_steps: that the store shall hold, in whole episodes; give either this or ``n_episodes``
    :param n_envs: played at once in this process, with one call of policy and preprocess a step
    :param n_processes: 0 to play in this process; else so many others play in one environment each, for which
        ``make_env``, ``policy`` and ``preprocess`` must be picklable and the script guard its ``__main__``
    :param preprocess: of frames (n, height, width, 3)
    :param policy_name: kept with the episodes; by default the name of its class
    :param deterministic: what the policy is asked for
    :param on_step: called with the number of steps made since the last call, once for a step of all environments (with
        processes, for an episode): False ends the collection
    :param progress: whether to show a progress bar
    :return: steps made in environments, with those of unfinished episodes that were dropped
    :raises ValueError: for arguments that do not fit each other, or actions that are not finite
    """
    if (n_episodes is None) == (n_steps is None):
        raise ValueError(f"n_episodes={n_episodes!r}, n_steps={n_steps!r}: accepted is one of them")
    if n_envs < 1 or n_processes < 0 or (n_processes > 0 and n_envs > 1):
        raise ValueError(
            f"n_envs={n_envs!r}, n_processes={n_processes!r}: accepted are n_envs >= 1 or n_processes >= 1"
        )
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
    """:raises ValueError: unless the store takes such frames and actions"""
    shape, actions = frame_shape(env, preprocess), describe_actions(env.action_space)
    if shape != store.frame_shape:
        raise ValueError(f"preprocess={preprocess!r} gives frames of {shape}: accepted are {store.frame_shape}")
    if actions != store.actions:
        raise ValueError(f"make_env gives actions {actions}: accepted are the store's, {store.actions}")
