"""Imagined episodes, which the memory generates without the environment."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from ardae_rl.common.checks import check_count, check_min, check_positive
from ardae_rl.world_models.evolution.evaluator import Episodes, Evaluator
from ardae_rl.world_models.memory import State as MemoryState
from ardae_rl.world_models.mixture import transform
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.vision import as_frames

_BLOCK = 64  # steps whose noise is drawn at once, which is faster
Array = NDArray[Any]


class DreamState(NamedTuple):
    """State of n dreams."""

    z: th.Tensor  # (n, z_dim)
    memory: MemoryState  # before z is processed


class Noise(NamedTuple):
    """Random numbers for one step of n dreams."""

    uniform: th.Tensor  # (n, 1 + n_weights): the first for the end of the episode, the others to choose components
    normal: th.Tensor  # (n, z_dim)


class Dream:
    """A simulation of the environment by the vision model and the memory.

    Example:

    >>> import gymnasium as gym
    >>> import torch as th
    >>> from ardae_rl.world_models import WorldModelPolicy
    >>> from ardae_rl.world_models.dream import Dream
    >>> env = gym.make("CarRacing-v3")
    >>> policy = WorldModelPolicy(env.observation_space, env.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    >>> dream = Dream(policy, starts=(th.zeros(1, 4), th.zeros(1, 4)), temperature=1.15)
    >>> state = dream.begin([th.Generator().manual_seed(seed) for seed in range(3)])
    >>> actions = policy.control(policy.controller_parameters.detach(), policy.features(state.z, state.memory))
    >>> state, rewards, terminated = dream.step(state, actions)
    >>> rewards.shape, terminated.dtype
    ((3,), dtype('bool'))

    :param policy: Policy whose vision model and memory are used.
    :param starts: V's posteriors of the first frames of m real episodes: means and log standard deviations, (m, z_dim)
        each.
    :param temperature: Temperature τ of the next latent, see :func:`~ardae_rl.world_models.mixture.transform`. Above 1,
        the dream is noisier, which makes it harder for a controller to exploit errors of the memory.
    :param done_factor: Factor with which the memory was trained, see
        :func:`~ardae_rl.world_models.memory_loss.memory_loss`. The predicted probability of termination is corrected
        for it, so that dreams last as long as real episodes.
    :raises ValueError: For a value outside of its range, or starts of other shapes.
    """

    def __init__(
        self,
        policy: WorldModelPolicy,
        starts: tuple[th.Tensor, th.Tensor],
        temperature: float = 1.0,
        done_factor: float = 1.0,
    ) -> None:
        check_positive("done_factor", done_factor)
        check_min("temperature", temperature, 0)
        shapes, z_dim = [tuple(part.shape) for part in starts], policy.vision.z_dim
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][0] == 0 or shapes[0][1] != z_dim:
            raise ValueError(f"`starts` must both have shape (m, {z_dim}) with m >= 1, got {shapes[0]} and {shapes[1]}")
        self.policy, self.temperature = policy, temperature
        self._logit_bias = math.log(done_factor)  # from the training's weight
        self._means, self._log_stds = (part.to(policy.device) for part in starts)

    @th.no_grad()
    def begin(self, generators: Sequence[th.Generator]) -> DreamState:
        """Begin one dream for each generator, from which its start is drawn."""
        m, z_dim, device = len(self._means), self.policy.vision.z_dim, self._means.device
        start = th.stack([th.randint(m, (), generator=g, device=g.device) for g in generators]).to(device)
        noise = th.stack([th.randn(z_dim, generator=g, device=g.device) for g in generators]).to(device)
        z = self._means[start] + self._log_stds[start].exp() * noise
        return DreamState(z, self.policy.memory.initial_state(len(z)))

    @th.no_grad()
    def step(
        self, state: DreamState, actions: Array, generator: th.Generator | None = None
    ) -> tuple[DreamState, NDArray[np.float32], NDArray[np.bool_]]:
        """Return the next state for actions (n, ...), the rewards (n,), and which dreams end (n,).

        :param generator: Source of the randomness, on any device.
        """
        return self.advance(state, actions, self.noise(len(state.z), generator))

    def noise(self, n: int, generator: th.Generator | None = None) -> Noise:
        """Draw the random numbers of n dreams for :meth:`advance`.

        :param generator: Source of the randomness, on any device.
        """
        memory, device = self.policy.memory, self._means.device
        source = device if generator is None else generator.device
        uniform = th.rand(n, 1 + memory.n_weights, generator=generator, device=source)
        return Noise(uniform.to(device), th.randn(n, memory.z_dim, generator=generator, device=source).to(device))

    @th.no_grad()
    def advance(
        self, state: DreamState, actions: Array, noise: Noise
    ) -> tuple[DreamState, NDArray[np.float32], NDArray[np.bool_]]:
        """Like :meth:`step`, with given random numbers."""
        memory = self.policy.remember(state.z, actions, state.memory)
        prediction = self.policy.memory.predict(memory[0])
        probability = (prediction.done_logit - self._logit_bias).sigmoid()
        z = transform(prediction.z, noise.uniform[:, 1:], noise.normal, self.temperature)
        return DreamState(z, memory), prediction.reward.cpu().numpy(), (probability > noise.uniform[:, 0]).cpu().numpy()


class DreamEvaluator(Evaluator):
    """Evaluates controllers in dreams instead of environments, all at once.

    Dreams with equal seeds begin with the same latent and use the same random numbers in each step, so that a return
    depends only on the parameters and the seed.

    :param dream: Dream to play.
    :param max_steps: Number of steps after which an episode is truncated.
    """

    def __init__(self, dream: Dream, max_steps: int) -> None:
        check_count("max_steps", max_steps)
        self.dream, self.max_steps = dream, max_steps

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        policy, n = self.dream.policy, len(seeds)
        if parameters.shape != (n, policy.n_parameters):
            raise ValueError(f"`parameters` must have shape {(n, policy.n_parameters)}, got {parameters.shape}")
        noises = _SeededNoise(self.dream, seeds)
        state = noises.begin()
        controllers = th.as_tensor(parameters, dtype=th.float32, device=policy.device)
        returns, lengths, rows = np.zeros(n), np.zeros(n, np.int64), np.arange(n)
        for _ in range(self.max_steps):
            with th.no_grad():
                actions = policy.control(controllers, policy.features(state.z, state.memory))
            state, rewards, terminated = self.dream.advance(state, actions, noises.next())
            returns[rows] += rewards
            lengths[rows] += 1
            if terminated.any():
                rows, active = rows[~terminated], th.from_numpy(~terminated).to(policy.device)
                state = DreamState(state.z[active], (state.memory[0][active], state.memory[1][active]))
                controllers = controllers[active]
                noises.keep(~terminated)
            if not len(rows):
                break
        return Episodes(returns, lengths, np.zeros(n, np.bool_))

    def update(self, state: dict[str, Any]) -> None:
        self.dream.policy.load_state_dict(state)


class _SeededNoise:
    """The random numbers of dreams, which are drawn once per distinct seed.

    :param dream: Dream that uses them.
    :param seeds: Seeds of the dreams, (n,).
    """

    def __init__(self, dream: Dream, seeds: Array) -> None:
        different, self._rows = np.unique(seeds, return_inverse=True)  # `_rows`: index of each dream's seed
        self._dream, self._generators = dream, [th.Generator().manual_seed(int(seed)) for seed in different]
        self._index: th.Tensor  # `_rows` on the policy's device
        self._step = 0

    def begin(self) -> DreamState:
        state = self._dream.begin(self._generators)
        return DreamState(state.z[self._rows], self._dream.policy.memory.initial_state(len(self._rows)))

    def next(self) -> Noise:
        """Return the numbers of the next step."""
        if self._step % _BLOCK == 0:
            self._draw()
        uniform, normal = (block[:, self._step % _BLOCK][self._index] for block in self._blocks)
        self._step += 1
        return Noise(uniform, normal)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Keep the dreams that a mask (n,) selects; the others have ended."""
        self._rows = self._rows[rows]
        self._index = self._index[th.from_numpy(rows).to(self._index.device)]

    def _draw(self) -> None:
        """Draw a block of numbers for the remaining dreams' seeds, (n_seeds, n_steps, ...)."""
        left, self._rows = np.unique(self._rows, return_inverse=True)
        self._generators = [self._generators[i] for i in left]
        drawn = zip(*(self._dream.noise(_BLOCK, generator) for generator in self._generators), strict=True)
        self._blocks = [th.stack(blocks) for blocks in drawn]
        self._index = th.from_numpy(self._rows).to(self._blocks[0].device)


class DreamVecEnv(VecEnv):
    """Dreams as an SB3 vectorized environment.

    Observations are the controller's inputs; actions are those of the environment.

    :param dream: Dream to play.
    :param n_envs: Number of dreams played at once.
    :param max_steps: Number of steps after which an episode is truncated.
    """

    render_mode = "rgb_array"

    def __init__(self, dream: Dream, n_envs: int, max_steps: int) -> None:
        check_count("n_envs", n_envs)
        check_count("max_steps", max_steps)
        self.dream, self.max_steps = dream, max_steps
        features = spaces.Box(-np.inf, np.inf, (dream.policy.n_features,), np.float32)
        super().__init__(n_envs, features, dream.policy.action_space)
        self._generators = self._seeded(None)

    def reset(self) -> NDArray[np.float32]:
        if any(seed is not None for seed in self._seeds):
            self._generators = self._seeded(self._seeds)
        self._state = self.dream.begin(self._generators)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._reset_seeds()
        self._reset_options()
        return self._features(self._state)

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        self._state, rewards, terminated = self.dream.step(self._state, self._actions, self._generators[0])
        self._lengths += 1
        truncated = ~terminated & (self._lengths == self.max_steps)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(cut)} for cut in truncated]
        if dones.any():
            last = self._features(self._state)
            fresh = self.dream.begin([self._generators[i] for i in np.flatnonzero(dones)])
            rows = th.from_numpy(dones).to(fresh.z.device)
            for part, new in zip((self._state.z, *self._state.memory), (fresh.z, *fresh.memory), strict=True):
                part[rows] = new
            self._lengths[dones] = 0
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = last[i]
        return self._features(self._state), rewards, dones, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [getattr(self, method_name)(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> list[Any]:
        """Decode the current latents into images, (64, 64, 3) each."""
        with th.no_grad():
            return list(as_frames(self.dream.policy.vision.decode(self._state.z)).cpu().numpy())

    def _features(self, state: DreamState) -> NDArray[np.float32]:
        return self.dream.policy.features(state.z, state.memory).cpu().numpy()

    def _seeded(self, seeds: Sequence[int | None] | None) -> list[th.Generator]:
        generators = [th.Generator() for _ in range(self.num_envs)]
        for i, generator in enumerate(generators):
            seed = None if seeds is None else seeds[i]
            generator.seed() if seed is None else generator.manual_seed(seed)
        return generators
