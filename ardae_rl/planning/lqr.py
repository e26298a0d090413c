"""Linear dynamics with quadratic costs, solved exactly."""

from typing import NamedTuple

import torch as th

from ardae_rl.common.linalg import matvec

_STEP_SIZES = 0.5 ** th.arange(6)  # of the projected Newton steps
_MAX_STEPS_PER_AXIS = 4


class Gains(NamedTuple):
    """Affine feedback u_t = K_t x_t + k_t, for n problems and T steps.

    Example:

    >>> import torch as th
    >>> from ardae_rl.planning import finite_horizon_lqr
    >>> one = th.ones(1, 5, 1, 1)
    >>> gains = finite_horizon_lqr(one, one, one, one, th.ones(1, 1, 1))
    >>> state = th.ones(1, 1)
    >>> first_action = (gains.feedback[:, 0] @ state[..., None])[..., 0] + gains.offset[:, 0]
    >>> first_action.shape
    torch.Size([1, 1])
    """

    feedback: th.Tensor  # K, (n, T, action_dim, state_dim)
    offset: th.Tensor  # k, (n, T, action_dim)
    failed: th.Tensor  # (n,), whether the costs are unbounded below; gains are then zero
    decrease: th.Tensor  # (n,), predicted decrease of the cost from applying the offsets at x = 0


def finite_horizon_lqr(
    a: th.Tensor,
    b: th.Tensor,
    state_cost: th.Tensor,
    action_cost: th.Tensor,
    final_cost: th.Tensor,
    *,
    drift: th.Tensor | None = None,
    cross_cost: th.Tensor | None = None,
    state_slope: th.Tensor | None = None,
    action_slope: th.Tensor | None = None,
    final_slope: th.Tensor | None = None,
    regularization: th.Tensor | None = None,
    bounds: tuple[th.Tensor, th.Tensor] | None = None,
) -> Gains:
    """Return the optimal feedback of linear dynamics with quadratic costs, by the Riccati recursion.

    The dynamics are x' = A x + B u + c. The cost is the sum over T steps of ½ xᵀQx + ½ uᵀRu + uᵀSx + qᵀx + rᵀu, plus
    ½ xᵀPx + pᵀx for the final state. n problems are solved at once. Optional terms default to zero.

    Example:

    >>> import torch
    >>> from ardae_rl.planning import finite_horizon_lqr
    >>> one = torch.ones(1, 3, 1, 1)  # x' = x + u, cost x² + u², three steps
    >>> finite_horizon_lqr(one, one, 2 * one, 2 * one, one[:, 0]).feedback.shape
    torch.Size([1, 3, 1, 1])

    :param a: A, (n, T, state_dim, state_dim).
    :param b: B, (n, T, state_dim, action_dim).
    :param state_cost: Q, (n, T, state_dim, state_dim), symmetric.
    :param action_cost: R, (n, T, action_dim, action_dim), symmetric.
    :param final_cost: P, (n, state_dim, state_dim), symmetric.
    :param drift: c, (n, T, state_dim).
    :param cross_cost: S, (n, T, action_dim, state_dim).
    :param state_slope: q, (n, T, state_dim).
    :param action_slope: r, (n, T, action_dim).
    :param final_slope: p, (n, state_dim).
    :param regularization: μ, (n,); μI is added to the second derivative with respect to the action.
    :param bounds: Lower and upper bounds of k, (n, T, action_dim) each. Actions at a bound get no feedback (Tassa et
        al. 2014).
    """
    n, length, d, m = b.shape
    c = b.new_zeros(n, length, d) if drift is None else drift
    s = b.new_zeros(n, length, m, d) if cross_cost is None else cross_cost
    q = b.new_zeros(n, length, d) if state_slope is None else state_slope
    r = b.new_zeros(n, length, m) if action_slope is None else action_slope
    p_matrix, p = final_cost, b.new_zeros(n, d) if final_slope is None else final_slope
    ridge = th.eye(m, dtype=b.dtype, device=b.device) * (
        0.0 if regularization is None else regularization[:, None, None]
    )
    feedback, offset = b.new_zeros(n, length, m, d), b.new_zeros(n, length, m)
    failed, decrease = th.zeros(n, dtype=th.bool, device=b.device), b.new_zeros(n)
    for t in reversed(range(length)):
        at, bt = a[:, t], b[:, t]
        slope = p + matvec(p_matrix, c[:, t])
        q_xx = state_cost[:, t] + at.mT @ p_matrix @ at
        q_uu = action_cost[:, t] + bt.mT @ p_matrix @ bt
        q_ux = s[:, t] + bt.mT @ p_matrix @ at
        q_x, q_u = q[:, t] + matvec(at.mT, slope), r[:, t] + matvec(bt.mT, slope)
        root, info = th.linalg.cholesky_ex(q_uu + ridge)
        failed = failed | (info > 0) | ~root.isfinite().all(-1).all(-1)
        root = th.where(failed[:, None, None], th.eye(m, dtype=b.dtype, device=b.device), root)
        gain = -th.cholesky_solve(th.cat([q_ux, q_u.unsqueeze(-1)], -1), root)
        gain = th.where(failed[:, None, None], 0.0, gain)
        k_matrix, k = gain[..., :d], gain[..., d]
        if bounds is not None:
            low, high = bounds[0][:, t], bounds[1][:, t]
            beyond = ((k < low) | (k > high)).any(-1) & ~failed
            if bool(beyond.any()):
                k_matrix, k = k_matrix.clone(), k.clone()
                k_matrix[beyond], k[beyond] = _bounded(
                    (q_uu + ridge)[beyond], q_u[beyond], q_ux[beyond], low[beyond], high[beyond]
                )
        decrease = decrease - (k * (q_u + 0.5 * matvec(q_uu, k))).sum(-1)
        feedback[:, t], offset[:, t] = k_matrix, k
        # The cost-to-go of these gains, also when they are regularized and thus not optimal
        p = q_x + matvec(k_matrix.mT, matvec(q_uu, k) + q_u) + matvec(q_ux.mT, k)
        p_matrix = q_xx + k_matrix.mT @ q_uu @ k_matrix + k_matrix.mT @ q_ux + q_ux.mT @ k_matrix
        p_matrix = 0.5 * (p_matrix + p_matrix.mT)
    keep = ~failed
    return Gains(feedback * keep[:, None, None, None], offset * keep[:, None, None], failed, decrease * keep)


def _bounded(
    q_uu: th.Tensor, q_u: th.Tensor, q_ux: th.Tensor, low: th.Tensor, high: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """Return K (n, m, d), and k (n, m) that minimizes ½ kᵀQk + qᵀk within bounds, by projected Newton steps.

    :param q_uu: Q, (n, m, m), positive definite.
    """
    m = q_u.shape[-1]
    eye = th.eye(m, dtype=q_u.dtype, device=q_u.device)
    k = (-th.linalg.solve(q_uu, q_u)).clamp(low, high)
    step_sizes = _STEP_SIZES.to(q_u)[:, None, None]
    moving = th.ones(len(k), dtype=th.bool, device=k.device)

    def free_at(k: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        slope = q_u + matvec(q_uu, k)
        return ~(((k <= low) & (slope > 0)) | ((k >= high) & (slope < 0))), slope

    def value(k: th.Tensor) -> th.Tensor:
        return (k * (q_u + 0.5 * matvec(q_uu, k))).sum(-1)

    def among_free(free: th.Tensor) -> th.Tensor:
        both = free.unsqueeze(-1) & free.unsqueeze(-2)
        return th.where(both, q_uu, eye)

    for _ in range(_MAX_STEPS_PER_AXIS * m):
        free, slope = free_at(k)
        step = -th.linalg.solve(among_free(free), slope * free) * free
        tried = (k + step_sizes * step).clamp(low, high)  # (step sizes, n, m)
        values = value(tried)
        best = values.argmin(0)
        rows = th.arange(len(k), device=k.device)
        # Rows that have converged stay fixed while others continue
        moving = moving & (values[best, rows] < value(k))
        if not bool(moving.any()):
            break
        k = th.where(moving.unsqueeze(-1), tried[best, rows], k)
    free, _ = free_at(k)
    return -th.linalg.solve(among_free(free), q_ux * free.unsqueeze(-1)) * free.unsqueeze(-1), k
