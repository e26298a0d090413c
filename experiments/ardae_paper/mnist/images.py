"""Samples, reconstructions and a walk through the latents, as one image for each autoencoder."""

import torch as th

from experiments.ardae_paper.mnist.autoencoder import Autoencoder, BernoulliDecoder

ROWS, COLUMNS = 4, 10
PARTS = ("samples", "reconstructions", "walk")


@th.no_grad()
def draw_images(model: Autoencoder, test: th.Tensor) -> dict[str, th.Tensor]:
    """Return tiles of pixel probabilities, (rows * columns, n_pixels), by name.

    "samples" are decoded from the prior. "reconstructions" has test images in rows 1 and 3, and below each a decoded
    latent from its posterior. Each row of "walk" goes from the posterior mean of one test image to that of another,
    along the arc of a circle.
    """
    decoder = model.decoder
    if not isinstance(decoder, BernoulliDecoder):
        raise TypeError(f"`model.decoder` must be a BernoulliDecoder, got {type(decoder).__name__}")
    dim, device = model.posterior.dim, test.device
    x = test[: 2 * COLUMNS]
    decoded = th.sigmoid(decoder(model.posterior.sample(model.features(x), 1).squeeze(1)))
    pairs = th.stack([x, decoded]).unflatten(1, (2, COLUMNS)).transpose(0, 1)  # 2 x (data, decoded) x columns
    ends = model.posterior.moments(model.features(test[: 2 * ROWS])).mean.unflatten(0, (2, ROWS))
    return {
        "samples": th.sigmoid(decoder(th.randn(ROWS * COLUMNS, dim, device=device))),
        "reconstructions": pairs.flatten(0, 2),
        "walk": th.sigmoid(decoder(arc(ends[0], ends[1], COLUMNS))).flatten(0, 1),
    }


def arc(start: th.Tensor, end: th.Tensor, n: int) -> th.Tensor:
    """Return ``n`` points from each start to each end, (batch, n, dim), with norms between theirs (Shoemake 1985)."""
    cosine = th.nn.functional.cosine_similarity(start, end, dim=-1).clamp(-0.999, 0.999)
    angle = cosine.acos()[:, None, None]
    t = th.linspace(0, 1, n, device=start.device)[None, :, None]
    first, last = th.sin((1 - t) * angle) / th.sin(angle), th.sin(t * angle) / th.sin(angle)
    return first * start.unsqueeze(1) + last * end.unsqueeze(1)


def tiled(tiles: th.Tensor, columns: int = COLUMNS) -> th.Tensor:
    """Return square tiles (n, side²) as one image, row by row."""
    side = round(tiles.shape[1] ** 0.5)
    grid = tiles.view(-1, columns, side, side)
    return grid.transpose(1, 2).flatten(2, 3).flatten(0, 1)
