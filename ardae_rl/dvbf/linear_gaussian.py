"""Linear-Gaussian state-space models, whose posterior and likelihood are known in closed form."""

from typing import NamedTuple

import torch as th
from torch.distributions import MultivariateNormal


class States(NamedTuple):
    """Gaussians over states; all sequences share their covariances."""

    mean: th.Tensor  # (batch, T + 1, d)
    covariance: th.Tensor  # (T + 1, d, d)


class LinearGaussianSSM:
    """The model z_0 ~ N(m0, P0), z_t = A z_{t-1} + B u_{t-1} + N(0, Q), x_t = C z_t + N(0, R).

    Sequences are observations x (batch, T + 1, obs_dim) and controls u (batch, T, act_dim); u_t comes between x_t and
    x_{t+1}. The class provides the Kalman filter, the Rauch-Tung-Striebel smoother, the joint posterior and the
    likelihood. It satisfies :class:`~ardae_rl.dvbf.elbo.StateSpaceModel`: use it to check posteriors and bounds.

    Example:

    >>> import torch
    >>> from ardae_rl.dvbf import LinearGaussianSSM
    >>> one = torch.eye(1)
    >>> model = LinearGaussianSSM(a=0.9 * one, b=one, c=one, q=0.1 * one, r=one, m0=torch.zeros(1), p0=one)
    >>> controls = torch.zeros(4, 10, 1)
    >>> states, observations = model.sample(controls)
    >>> model.kalman_filter(observations, controls).mean.shape
    torch.Size([4, 11, 1])

    :param a: A, (d, d).
    :param b: B, (d, act_dim).
    :param c: C, (obs_dim, d).
    :param q: Q, (d, d), positive definite.
    :param r: R, (obs_dim, obs_dim), positive definite.
    :param m0: m0, (d,).
    :param p0: P0, (d, d), positive definite.
    :raises ValueError: If the shapes are inconsistent.
    """

    def __init__(
        self, a: th.Tensor, b: th.Tensor, c: th.Tensor, q: th.Tensor, r: th.Tensor, m0: th.Tensor, p0: th.Tensor
    ) -> None:
        d, o = len(a), len(c)
        shapes = {"a": (d, d), "b": (d, b.shape[-1]), "c": (o, d), "q": (d, d), "r": (o, o), "m0": (d,), "p0": (d, d)}
        for (name, shape), value in zip(shapes.items(), (a, b, c, q, r, m0, p0), strict=True):
            if tuple(value.shape) != shape:
                raise ValueError(f"`{name}` must have shape {shape}, got {tuple(value.shape)}")
        self.a, self.b, self.c, self.q, self.r, self.m0, self.p0 = a, b, c, q, r, m0, p0

    def sample(self, u: th.Tensor, generator: th.Generator | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Return states z (batch, T + 1, d) and observations x (batch, T + 1, obs_dim)."""

        def noise(covariance: th.Tensor) -> th.Tensor:
            standard = th.randn(len(u), len(covariance), generator=generator, dtype=covariance.dtype)
            return standard @ th.linalg.cholesky(covariance).mT

        states = [self.m0 + noise(self.p0)]
        for t in range(u.shape[1]):
            states.append(states[-1] @ self.a.mT + u[:, t] @ self.b.mT + noise(self.q))
        z = th.stack(states, 1)
        x = z @ self.c.mT + th.stack([noise(self.r) for _ in states], 1)
        return z, x

    def log_prob_initial(self, z: th.Tensor) -> th.Tensor:
        """Return ln p(z_0), (batch,), given z_0 (batch, d)."""
        return MultivariateNormal(self.m0, self.p0).log_prob(z)

    def next_state(self, z: th.Tensor, u: th.Tensor, w: th.Tensor) -> th.Tensor:
        """Return z_t (batch, d), given z_{t-1}, u_{t-1} and noise w ~ N(0, I), (batch, d)."""
        return z @ self.a.mT + u @ self.b.mT + w @ th.linalg.cholesky(self.q).mT

    def log_prior(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return ln p(z_{0:T} | u), (batch,)."""
        means = z[:, :-1] @ self.a.mT + u @ self.b.mT
        return self.log_prob_initial(z[:, 0]) + MultivariateNormal(means, self.q).log_prob(z[:, 1:]).sum(1)

    def log_emission(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """Return ln p(x_{0:T} | z_{0:T}), (batch,)."""
        return MultivariateNormal(z @ self.c.mT, self.r).log_prob(x).sum(1)

    def log_likelihood(self, x: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return ln p(x_{0:T} | u), (batch,), from the innovations of the Kalman filter."""
        return self._filter(x, u)[1]

    def kalman_filter(self, x: th.Tensor, u: th.Tensor) -> States:
        """Return p(z_t | x_{0:t}, u) for each t."""
        return self._filter(x, u)[0]

    def rts_smoother(self, x: th.Tensor, u: th.Tensor) -> States:
        """Return p(z_t | x_{0:T}, u) for each t (Rauch, Tung and Striebel 1965)."""
        filtered, _ = self._filter(x, u)
        mean, covariance = filtered.mean[:, -1], filtered.covariance[-1]
        means, covariances = [mean], [covariance]
        for t in reversed(range(u.shape[1])):
            predicted_mean, predicted = self._predict(filtered.mean[:, t], filtered.covariance[t], u[:, t])
            gain = th.linalg.solve(predicted, self.a @ filtered.covariance[t]).mT
            mean = filtered.mean[:, t] + (mean - predicted_mean) @ gain.mT
            covariance = filtered.covariance[t] + gain @ (covariance - predicted) @ gain.mT
            means.append(mean)
            covariances.append(covariance)
        return States(th.stack(means[::-1], 1), th.stack(covariances[::-1]))

    def joint_posterior(self, x: th.Tensor, u: th.Tensor) -> MultivariateNormal:
        """Return p(z_{0:T} | x, u) for each sequence, over vectors of length (T + 1) d."""
        n, d = x.shape[1], len(self.a)
        precision = x.new_zeros(n, d, n, d)
        linear = x.new_zeros(len(x), n, d)
        q, r, p0 = (th.linalg.inv(covariance) for covariance in (self.q, self.r, self.p0))
        precision[0, :, 0] += p0
        linear[:, 0] += self.m0 @ p0
        for t in range(n):
            precision[t, :, t] += self.c.mT @ r @ self.c
            linear[:, t] += x[:, t] @ r @ self.c
        for t in range(n - 1):
            precision[t, :, t] += self.a.mT @ q @ self.a
            precision[t + 1, :, t + 1] += q
            precision[t, :, t + 1] -= self.a.mT @ q
            precision[t + 1, :, t] -= q @ self.a
            drift = u[:, t] @ self.b.mT @ q
            linear[:, t + 1] += drift
            linear[:, t] -= drift @ self.a
        covariance = th.linalg.inv(precision.reshape(n * d, n * d))
        covariance = 0.5 * (covariance + covariance.mT)
        return MultivariateNormal(linear.flatten(1) @ covariance, covariance)

    def _filter(self, x: th.Tensor, u: th.Tensor) -> tuple[States, th.Tensor]:
        mean, covariance = self.m0.expand(len(x), -1), self.p0
        means, covariances, log_likelihood = [], [], x.new_zeros(len(x))
        for t in range(x.shape[1]):
            if t:
                mean, covariance = self._predict(mean, covariance, u[:, t - 1])
            innovation = x[:, t] - mean @ self.c.mT
            spread = self.c @ covariance @ self.c.mT + self.r
            log_likelihood = log_likelihood + MultivariateNormal(th.zeros_like(innovation), spread).log_prob(innovation)
            gain = th.linalg.solve(spread, self.c @ covariance).mT
            mean = mean + innovation @ gain.mT
            covariance = covariance - gain @ spread @ gain.mT
            means.append(mean)
            covariances.append(covariance)
        return States(th.stack(means, 1), th.stack(covariances)), log_likelihood

    def _predict(self, mean: th.Tensor, covariance: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return mean @ self.a.mT + u @ self.b.mT, self.a @ covariance @ self.a.mT + self.q
