"""Log-density and score of the implicit policy's actions, from an estimator in whitened coordinates."""

from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.squashed import log_tanh_slope
from ardae_rl.sac_ardae.whitening import AffineFrame
from ardae_rl.score import ARDAE


class EncodedStates(NamedTuple):
    """States with everything that a gradient step computes from them once."""

    observations: PyTorchObs
    features: th.Tensor  # (batch, features_dim), the estimator's context
    embedding: th.Tensor  # from ImplicitActor.encode
    frame: AffineFrame


@th.no_grad()
def pre_tanh_log_prob(
    estimator: ARDAE, states: EncodedStates, pre_tanh: th.Tensor, offset: th.Tensor | float = 0.0
) -> th.Tensor:
    """Return the log-density of actions in [-1, 1], shape (batch, n).

    :param estimator: Estimator of the policy's density.
    :param states: States of the actions.
    :param pre_tanh: Actions before tanh, shape (batch, n, dim).
    :param offset: Constant to add to the estimates.
    :raises ValueError: If the estimator has no density.
    """
    local = estimator.log_prob(states.frame.to_local(pre_tanh), states.features)
    return _squashed(local, states, pre_tanh, offset)


@th.no_grad()
def pre_tanh_score(
    estimator: ARDAE,
    states: EncodedStates,
    pre_tanh: th.Tensor,
    with_log_prob: bool = True,
    offset: th.Tensor | float = 0.0,
) -> tuple[th.Tensor, th.Tensor | None]:
    """Return the gradient of :func:`pre_tanh_log_prob` with respect to ``pre_tanh``, and its value or None.

    :param estimator: Estimator of the policy's score.
    :param states: States of the actions.
    :param pre_tanh: Actions before tanh, shape (batch, n, dim).
    :param with_log_prob: Whether to return the log-density as well.
    :param offset: Constant to add to the estimates of the log-density.
    :return: The gradient, shape (batch, n, dim), and the log-density, shape (batch, n).
    """
    local = states.frame.to_local(pre_tanh)
    log_prob = None
    if with_log_prob:
        local_score, local_log_prob = estimator.score_and_log_prob(local, states.features)
        log_prob = _squashed(local_log_prob, states, pre_tanh, offset)
    else:
        local_score = estimator.score(local, states.features)
    # d/dx of -ln(1 - tanh² x) is 2 tanh x
    return states.frame.score_from_local(local_score) + 2 * th.tanh(pre_tanh), log_prob


def _squashed(
    local_log_prob: th.Tensor, states: EncodedStates, pre_tanh: th.Tensor, offset: th.Tensor | float
) -> th.Tensor:
    """Return the log-density of actions in [-1, 1], given the estimate in whitened coordinates."""
    return local_log_prob + offset - states.frame.log_det() - log_tanh_slope(pre_tanh)
