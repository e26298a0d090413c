"""Distances between sets of samples."""

import ot
import torch as th


def earth_movers_distance(x: th.Tensor, y: th.Tensor) -> float:
    """Return the mean Euclidean distance under the optimal matching of two equally large sets of points (n, dim)."""
    cost = th.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return float(ot.emd2([], [], cost.numpy(), numItermax=10_000_000))
