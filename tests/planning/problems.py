"""Planning problems with known optimal plans."""

import torch as th


class Linear:
    """x' = A x + B u + c with the costs ½ xᵀQx + ½ uᵀRu + uᵀSx + qᵀx + rᵀu, at the end ½ xᵀPx + pᵀx."""

    def __init__(self, d: int = 3, m: int = 2, bound: float = 1e6, seed: int = 0) -> None:
        generator = th.Generator().manual_seed(seed)

        def draw(*shape: int) -> th.Tensor:
            return th.randn(shape, generator=generator, dtype=th.float64)

        def definite(n: int) -> th.Tensor:
            root = draw(n, n)
            return root @ root.mT + th.eye(n, dtype=th.float64)

        self.a, self.b, self.c = 0.5 * draw(d, d), draw(d, m), 0.3 * draw(d)
        self.q_matrix, self.r_matrix, self.p_matrix = definite(d), definite(m), definite(d)
        self.s, self.q, self.r, self.p = 0.1 * draw(m, d), draw(d), draw(m), draw(d)
        self.high = th.full((m,), bound, dtype=th.float64)
        self.low = -self.high

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return states @ self.a.mT + actions @ self.b.mT + self.c

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        quadratic = 0.5 * _form(states, self.q_matrix, states) + 0.5 * _form(actions, self.r_matrix, actions)
        return quadratic + _form(actions, self.s, states) + states @ self.q + actions @ self.r

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        return 0.5 * _form(states, self.p_matrix, states) + states @ self.p


class Pendulum:
    """Swing-up of Gymnasium's pendulum with states (θ, dθ/dt), and 1.5 times its torque."""

    low, high = th.tensor([-3.0], dtype=th.float64), th.tensor([3.0], dtype=th.float64)

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        angle, speed = states.unbind(-1)
        speed = speed + 0.05 * (15 * angle.sin() + 3 * actions[..., 0])
        return th.stack([angle + 0.05 * speed, speed], -1)

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        angle, speed = states.unbind(-1)
        return 1 - angle.cos() + 0.05 * speed.square() + 0.0005 * actions[..., 0].square()

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        angle, speed = states.unbind(-1)
        return 20 * (1 - angle.cos() + 0.05 * speed.square())


def _form(left: th.Tensor, matrix: th.Tensor, right: th.Tensor) -> th.Tensor:
    return ((left @ matrix) * right).sum(-1)
