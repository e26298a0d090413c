"""The most probable action of a policy, from its samples."""

import torch as th

_MAX_DIM = 9  # in more dimensions, so few samples do not reveal modes
_N_MEAN_SHIFTS = 10


@th.no_grad()
def most_probable(samples: th.Tensor, bandwidth: float) -> th.Tensor:
    """Return the mean, or the center of a mode that is clearly more probable, shape (batch, dim).

    The density is that of a mixture with a Gaussian kernel at each sample. The most probable sample moves to the top of
    its mode by mean shift (Comaniciu and Meer 2002). The mean of several modes may lie between them, where the policy
    never acts; the mean of one mode is a better action than the top of an estimated density. So a mode is returned only
    if its log-density exceeds that at the mean by half a nat plus a margin for sampling noise. The margin is the gain
    that samples of a normal distribution show, and grows with the square of the dimension. In ten and more dimensions,
    the result is always the mean.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_ardae.modes import most_probable
    >>> signs = th.tensor([-1.0, 1.0]).repeat(50)[:, None]
    >>> two_modes = (signs + 0.1 * th.randn(100, 1, generator=th.Generator().manual_seed(0))).unsqueeze(0)
    >>> most_probable(two_modes, bandwidth=0.3).abs().round(decimals=1)
    tensor([[1.]])

    :param samples: Samples, (batch, n, dim), in coordinates in which the policy has mean 0 and covariance I.
    :param bandwidth: Standard deviation of the kernels, raised to that of Scott's rule if it is smaller.
    """
    n, dim = samples.shape[1:]
    mean = th.zeros_like(samples[:, 0])
    if dim > _MAX_DIM:
        return mean
    variance = max(bandwidth, n ** (-1 / (dim + 4))) ** 2
    density = (-0.5 / variance * th.cdist(samples, samples).square()).exp()
    density.diagonal(dim1=1, dim2=2).zero_()  # a sample's own kernel says nothing about its density
    best = density.sum(-1).argmax(1)[:, None, None].expand(-1, 1, dim)
    top = samples.gather(1, best)  # (batch, 1, dim)
    at_mean = (-0.5 / variance * samples.square().sum(-1)).unsqueeze(1)  # log-kernels, (batch, 1, n)
    scaled = samples.mT / variance
    for _ in range(_N_MEAN_SHIFTS):
        top = th.baddbmm(at_mean, top, scaled).softmax(-1) @ samples
    at_top = th.baddbmm(at_mean, top, scaled) - 0.5 / variance * top.square().sum(-1, keepdim=True)
    gain = at_top.logsumexp(-1) - at_mean.logsumexp(-1)  # (batch, 1)
    return th.where(gain > 0.5 + 0.016 * dim**2, top.squeeze(1), mean)
