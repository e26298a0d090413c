"""Episodes that the memory makes up, without the environment."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.world_models.evolution.base import Episodes, Evaluator
from ardae_rl.world_models.memory import State as MemoryState
from ardae_rl.world_models.mixture import sample
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.vision import as_frames

ENDS = ("sampled", "threshold")
Array = NDArray[Any]


class Dreamt(NamedTuple):
    """Where n dreams are."""

    z: th.Tensor  # (n, z_dim)
    memory: MemoryState  # before z


class Dream:
    """The environment as vision and memory have it.

    :param policy: whose vision and memory they are
    :param starts: V's posteriors of first frames of real episodes, mean and ln standard deviation, (m, z_dim) each
    :param temperature: τ, of the next latent (:func:`~ardae_rl.world_models.mixture.sample`); above 1 it is harder
        to find out and exploit where the memory is wrong
    :param ends: whether an episode ends with the probability that the memory gives ("sampled"), or where that is above
        one half ("threshold")
    :param done_factor: with which the memory was trained, see :func:`~ardae_rl.world_models.memory_loss.memory_loss`;
        it is taken out of the probabilities of sampled ends, so that episodes last as long as real ones
    :raises ValueError: for arguments outside of what is accepted
    """

    def __init__(
        self,
        policy: WorldModelPolicy,
        starts: tuple[th.Tensor, th.Tensor],
        temperature: float = 1.0,
        ends: str = "sampled",
        done_factor: float = 1.0,
    ) -> None:
        check_choice("ends", ends, ENDS)
        check_positive("done_factor", done_factor)
        if not temperature >= 0:
            raise ValueError(f"temperature={temperature!r}: accepted are numbers from 0 up")
        shapes, z_dim = [tuple(part.shape) for part in starts], policy.vision.z_dim
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][0] == 0 or shapes[0][1] != z_dim:
            raise ValueError(f"starts of shapes {shapes}: accepted is (m, {z_dim}) for both, m at least 1")
        self.policy, self.temperature, self.ends = policy, temperature, ends
        self._excess = math.log(done_factor) if ends == "sampled" else 0.0  # of the memory's logits
        self._means, self._log_stds = (part.to(policy.device) for part in starts)

    @th.no_grad()
    def begin(self, generators: Sequence[th.Generator]) -> Dreamt:
        """One dream for each generator, which draws its start."""
        m, device = len(self._means), self._means.device
        start = th.stack([th.randint(m, (), generator=g) for g in generators]).to(device)
        noise = th.stack([th.randn(self.policy.vision.z_dim, generator=g) for g in generators]).to(device)
        z = self._means[start] + self._log_stds[start].exp() * noise
        return Dreamt(z, self.policy.memory.initial_state(len(z)))

    @th.no_grad()
    def step(
        self, at: Dreamt, actions: Array, generator: th.Generator | None = None
    ) -> tuple[Dreamt, NDArray[np.float32], NDArray[np.bool_]]:
        """Where the dreams are after actions (n, ...), their rewards (n), and which of them end (n)."""
        memory = self.policy.remember(at.z, actions, at.memory)
        prediction = self.policy.memory.predict(memory[0])
        probability = (prediction.done_logit - self._excess).sigmoid()
        level = th.full_like(probability, 0.5)
        if self.ends == "sampled":
            level.uniform_(generator=generator)
        z = sample(prediction.z, self.temperature, generator)
        return Dreamt(z, memory), prediction.reward.cpu().numpy(), (probability > level).cpu().numpy()


class DreamEvaluator(Evaluator):
    """Plays controllers in dreams instead of environments, all at once.

    Equal seeds begin with the same latent. What happens then is drawn for all dreams together, and depends on which
    others there are.

    :param dream: that they play
    :param max_steps: after which an episode is ended
    """

    def __init__(self, dream: Dream, max_steps: int) -> None:
        check_positive("max_steps", max_steps)
        self.dream, self.max_steps = dream, max_steps

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        policy, n = self.dream.policy, len(seeds)
        if parameters.shape != (n, policy.n_parameters):
            raise ValueError(f"parameters of shape {parameters.shape}: accepted is {(n, policy.n_parameters)}")
        at = self.dream.begin([th.Generator().manual_seed(int(seed)) for seed in seeds])
        generator = th.Generator(policy.device).manual_seed(int(seeds[0]))
        controllers = th.as_tensor(parameters, dtype=th.float32, device=policy.device)
        returns, lengths, rows = np.zeros(n), np.zeros(n, np.int64), np.arange(n)
        for _ in range(self.max_steps):
            with th.no_grad():
                actions = policy.control(controllers, policy.features(at.z, at.memory))
            at, rewards, done = self.dream.step(at, actions, generator)
            returns[rows] += rewards
            lengths[rows] += 1
            if done.any():
                left = ~done
                rows, kept = rows[left], th.from_numpy(left).to(policy.device)
                at = Dreamt(at.z[kept], (at.memory[0][kept], at.memory[1][kept]))
                controllers = controllers[kept]
            if not len(rows):
                break
        return Episodes(returns, lengths, np.zeros(n, np.bool_))

    def update(self, state: dict[str, Any]) -> None:
        self.dream.policy.load_state_dict(state)


class DreamVecEnv(VecEnv):
    """Dreams as SB3's environments: observations are what the controller sees, actions the environment's.

    :param dream: that is played
    :param n_envs: dreams at once
    :param max_steps: after which an episode is cut off
    """

    render_mode = "rgb_array"

    def __init__(self, dream: Dream, n_envs: int, max_steps: int) -> None:
        check_positive("n_envs", n_envs)
        check_positive("max_steps", max_steps)
        self.dream, self.max_steps = dream, max_steps
        features = spaces.Box(-np.inf, np.inf, (dream.policy.n_features,), np.float32)
        super().__init__(n_envs, features, dream.policy.action_space)
        self._generators = self._seeded(None)

    def reset(self) -> NDArray[np.float32]:
        if any(seed is not None for seed in self._seeds):
            self._generators = self._seeded(self._seeds)
        self._at = self.dream.begin(self._generators)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._reset_seeds()
        self._reset_options()
        return self._features(self._at)

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        self._at, rewards, ended = self.dream.step(self._at, self._actions, self._generators[0])
        self._lengths += 1
        cut_off = ~ended & (self._lengths == self.max_steps)
        dones = ended | cut_off
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(cut)} for cut in cut_off]
        if dones.any():
            last = self._features(self._at)
            new = self.dream.begin([self._generators[i] for i in np.flatnonzero(dones)])
            self._at.z[dones] = new.z
            for part, fresh in zip(self._at.memory, new.memory, strict=True):
                part[dones] = fresh
            self._lengths[dones] = 0
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = last[i]
        return self._features(self._at), rewards, dones, infos

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
        """What the vision model makes of the latents, (64, 64, 3) each."""
        with th.no_grad():
            return list(as_frames(self.dream.policy.vision.decode(self._at.z)).cpu().numpy())

    def _features(self, at: Dreamt) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self.dream.policy.features(at.z, at.memory).cpu().numpy()
        return features

    def _seeded(self, seeds: Sequence[int | None] | None) -> list[th.Generator]:
        generators = [th.Generator() for _ in range(self.num_envs)]
        for i, generator in enumerate(generators):
            seed = None if seeds is None else seeds[i]
            generator.seed() if seed is None else generator.manual_seed(seed)
        return generators
