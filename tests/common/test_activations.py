"""FastTanh in both of its forms against torch's tanh, value and gradient."""

import pytest
import torch as th

from ardae_rl.common.activations import FastTanh


@pytest.mark.parametrize("is_logistic", [True, False])
def test_fast_tanh_is_tanh(is_logistic: bool) -> None:
    module = FastTanh()
    assert isinstance(module.is_logistic, bool)
    module.is_logistic = is_logistic
    x = th.linspace(-30, 30, 2001, requires_grad=True)
    value = module(x)
    th.testing.assert_close(value, x.tanh(), rtol=0, atol=2e-7)
    slope, expected = (th.autograd.grad(y.sum(), x)[0] for y in (value, x.tanh()))
    th.testing.assert_close(slope, expected, rtol=0, atol=5e-7)
    with th.no_grad():
        th.testing.assert_close(module(x), value, rtol=0, atol=0)
