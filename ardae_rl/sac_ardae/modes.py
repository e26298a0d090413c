"""The most probable action of a policy, from samples of it."""

import torch as th

_N_MEAN_SHIFTS = 10


@th.no_grad()
def most_probable(samples: th.Tensor, bandwidth: float) -> th.Tensor:
    """Return the mean, or the center of a mode that is clearly more probable, shape (batch, dim).

    The density is that of a mixture with a Gaussian kernel at each sample. The most probable sample moves to the top of
    its mode by mean shift (Comaniciu and Meer 2002). The mean of several modes may lie between them, where the policy
    never acts; the mean of one mode is a better action than the top of an estimated density. So the mode must win by
    half a nat beyond what the estimate's noise gives for normal samples, which grows with the square of the dimension.
    In ten and more dimensions, so few samples show no mode, and the result is the mean.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_ardae.modes import most_probable
    >>> signs = th.tensor([-1.0, 1.0]).repeat(50)[:, None]
    >>> two_modes = (signs + 0.1 * th.randn(100, 1, generator=th.Generator().manual_seed(0))).unsqueeze(0)
    >>> most_probable(two_modes, bandwidth=0.3).abs().round(decimals=1)
    tensor([[1.]])

    :param samples: Samples, (batch, n, dim), in coordinates in which the policy has mean 0 and covariance I.
    :param bandwidth: Standard deviation of the kernels. It is raised to that of Scott's rule if it is smaller.
    """
    n, dim = samples.shape[1:]
    variance = max(bandwidth, n ** (-1 / (dim + 4))) ** 2
    own = th.eye(n, dtype=th.bool, device=samples.device)
    # A sample's own kernel says nothing about its density
    leave_one_out = _log_kernels(samples, samples, variance).masked_fill(own, -th.inf).logsumexp(-1)
    best = leave_one_out.argmax(1)[:, None, None].expand(-1, 1, dim)
    top = samples.gather(1, best)  # batch x 1 x dim
    for _ in range(_N_MEAN_SHIFTS):
        top = _log_kernels(top, samples, variance).softmax(-1) @ samples
    log_density = _log_kernels(th.cat([th.zeros_like(top), top], dim=1), samples, variance).logsumexp(-1)
    is_better = log_density[:, 1] > log_density[:, 0] + 0.5 + 0.016 * dim**2
    return th.where(is_better.unsqueeze(1), top.squeeze(1), 0.0)


def _log_kernels(points: th.Tensor, centers: th.Tensor, variance: float) -> th.Tensor:
    """Return -|x - c|² / (2 variance) for all pairs, shape (batch, points, centers)."""
    return -0.5 / variance * th.cdist(points, centers).square()
