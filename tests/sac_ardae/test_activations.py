"""LogisticTanh against torch's tanh, value and gradient."""

import torch as th

from ardae_rl.sac_ardae.activations import LogisticTanh


def test_logistic_tanh_is_tanh() -> None:
    x = th.linspace(-30, 30, 2001, requires_grad=True)
    value = LogisticTanh()(x)
    th.testing.assert_close(value, x.tanh(), rtol=0, atol=2e-7)
    slope, expected = (th.autograd.grad(y.sum(), x)[0] for y in (value, x.tanh()))
    th.testing.assert_close(slope, expected, rtol=0, atol=5e-7)
    with th.no_grad():
        th.testing.assert_close(LogisticTanh()(x), value, rtol=0, atol=0)
