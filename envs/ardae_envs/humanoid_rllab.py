"""MuJoCo's humanoid with the reward, observations and termination of rllab's humanoid."""

from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from ardae_envs.optional import missing

try:
    import mujoco
    from gymnasium.envs.mujoco import MujocoEnv
    from gymnasium.envs.mujoco.humanoid_v5 import DEFAULT_CAMERA_CONFIG
except (ImportError, DependencyNotInstalled) as error:
    raise missing("mujoco", "mujoco") from error

_TORSO = 1  # the root of the body: its subtree is the whole humanoid
_MIN_HEIGHT, _MAX_HEIGHT = 0.8, 2.0
_FRAME_SKIP = 5


class HumanoidRllab(MujocoEnv, EzPickle):
    """A humanoid that must run along x, after rllab's ``HumanoidEnv`` (Duan et al. 2016).

    Reference: https://arxiv.org/abs/1604.06778; Haarnoja et al. (2018) and Lim et al. (2020) report returns on it. With
    v = (v_x, v_y, v_z), the velocity of the whole body's center of mass, the reward of a step is

        v_x + 0.2 - 0.5e-3 Σ (a / half range)² - 0.5e-5 Σ clip(cfrc_ext, -1, 1)² - 0.5e-2 (v_y² + v_z²).

    The episode terminates when the height of the torso leaves the range from 0.8 to 2.0. An observation consists of
    qpos (24 numbers), qvel (23), the external forces cfrc_ext on all bodies including the world, clipped to [-1, 1]
    (84), and the position of the center of mass (3). Episodes start at the model's initial state plus normal noise,
    with standard deviations of 0.01 for positions and 0.1 for velocities. Episodes of ``ardae/HumanoidRllab-v0`` are
    truncated after 1000 steps.

    Two things differ from rllab: the model is that of ``Humanoid-v5``, with 17 motors (rllab's has 21, because of its
    ankles), and a step takes 0.015 seconds (rllab's 0.008). Returns are therefore not comparable with those of rllab's
    model.

    Example:

    >>> import gymnasium
    >>> import ardae_envs
    >>> env = gymnasium.make("ardae/HumanoidRllab-v0")
    >>> env.reset(seed=0)[0].shape
    (134,)

    :param kwargs: Arguments of Gymnasium's ``MujocoEnv``, such as ``render_mode``.
    """

    metadata = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 67,
    }

    def __init__(self, **kwargs: Any) -> None:
        EzPickle.__init__(self, **kwargs)
        camera = {"default_camera_config": DEFAULT_CAMERA_CONFIG} | kwargs
        MujocoEnv.__init__(self, "humanoid.xml", _FRAME_SKIP, observation_space=None, **camera)
        n = self.model.nq + self.model.nv + 6 * self.model.nbody + 3
        self.observation_space = Box(-np.inf, np.inf, (n,), np.float64)
        self._half_range = (self.action_space.high - self.action_space.low) / 2  # type: ignore[attr-defined]

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], np.float64, bool, bool, dict[str, np.float64]]:
        """Apply torques, shape (17,), for one step."""
        self.do_simulation(action, self.frame_skip)
        self._update_derived_quantities()
        velocity = self.data.subtree_linvel[_TORSO]
        info = {
            "reward_forward": velocity[0],
            "reward_survive": np.float64(0.2),
            "reward_ctrl": -0.5e-3 * np.square(action / self._half_range).sum(dtype=np.float64),
            "reward_contact": -0.5e-5 * np.square(self._contact_forces()).sum(),
            "reward_deviation": -0.5e-2 * np.square(velocity[1:]).sum(),
        }
        reward = np.sum(list(info.values()))
        info["x_position"] = self.data.subtree_com[_TORSO, 0]
        terminated = not _MIN_HEIGHT <= self.data.qpos[2] <= _MAX_HEIGHT
        if self.render_mode == "human":
            self.render()
        return self._observation(), reward, terminated, False, info

    def reset_model(self) -> NDArray[np.float64]:
        qpos = self.init_qpos + 0.01 * self.np_random.standard_normal(self.model.nq)
        qvel = self.init_qvel + 0.1 * self.np_random.standard_normal(self.model.nv)
        self.set_state(qpos, qvel)
        self._update_derived_quantities()
        return self._observation()

    def _update_derived_quantities(self) -> None:
        """Compute forces, center of mass and its velocity for the current state; after a step they are out of date."""
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_rnePostConstraint(self.model, self.data)
        mujoco.mj_subtreeVel(self.model, self.data)

    def _contact_forces(self) -> NDArray[np.float64]:
        return np.clip(self.data.cfrc_ext, -1, 1)

    def _observation(self) -> NDArray[np.float64]:
        parts = (self.data.qpos, self.data.qvel, self._contact_forces().ravel(), self.data.subtree_com[_TORSO])
        return np.concatenate(parts)
