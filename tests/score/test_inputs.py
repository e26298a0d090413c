"""The estimator takes arrays and all types of numbers, and says what else it was given."""

from typing import Any

import numpy as np
import pytest
import torch as th

from ardae_rl.score import ARDAE

SMALL: dict[str, Any] = {"network_kwargs": {"hidden": [8]}}
VALUES = np.array([[0, 1], [1, 2], [-1, 0], [2, 1]])


def estimator(context_dim: int = 0) -> ARDAE:
    th.manual_seed(0)
    return ARDAE(2, context_dim, **SMALL)


@pytest.mark.parametrize(
    "values",
    [VALUES, VALUES.astype(np.float64), VALUES.astype(np.float16), th.as_tensor(VALUES), th.as_tensor(VALUES).double()],
    ids=["int array", "double array", "half array", "int", "double"],
)
def test_types_of_numbers(values: Any) -> None:
    """The same numbers, whatever their type."""
    expected, trained = estimator(), estimator()
    reference = th.as_tensor(VALUES).float()
    th.manual_seed(1)
    loss = expected.update(reference)
    th.manual_seed(1)
    assert trained.update(values) == loss
    th.testing.assert_close(trained.score(values), expected.score(reference))
    th.testing.assert_close(trained.log_prob(values), expected.log_prob(reference))
    th.testing.assert_close(trained.entropy(values), expected.entropy(reference))


def test_contexts() -> None:
    trained = estimator(3)
    samples, context = np.random.default_rng(0).normal(size=(4, 5, 2)), np.ones((4, 3), np.int64)
    trained.update(samples, context)
    assert trained.score(samples, context).shape == (4, 5, 2)
    assert trained.log_prob(samples[:, 0], context).shape == (4,)
    log_z, _ = trained.log_partition_estimate(context, n_draws=10)
    assert log_z.shape == (4,)


def test_a_double_estimator_takes_floats() -> None:
    assert estimator().double().score(VALUES).dtype == th.float64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("text", "`x` must be a tensor or an array of numbers, got str"),
        (np.array([["a", "b"]]), "`x` must be a tensor or an array of numbers, got ndarray"),
        (np.ones((4, 2), bool), r"`x` must be real numbers, got torch\.bool"),
        (np.ones((4, 2), complex), r"`x` must be real numbers, got torch\.complex128"),
    ],
)
def test_what_are_no_numbers(values: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        estimator().score(values)


def test_numbers_that_are_not_finite() -> None:
    """Refused where they come from outside; a training loop's own tensors are not waited for."""
    for query in (estimator().score, estimator().log_prob, estimator().entropy):
        with pytest.raises(ValueError, match=r"`.*` must be finite, got 1 of 4 values that are not"):
            query(np.array([[0, np.nan], [0, 0]]))
