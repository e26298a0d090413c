"""CMA-ES (Hansen 2016) through pycma: ask for candidates, tell what they are worth."""

import pickle
import warnings
from typing import Any

import numpy as np
import torch as th
from numpy.typing import ArrayLike, NDArray

from ardae_rl.common.checks import check_positive
from ardae_rl.common.optional import require

Floats = NDArray[np.float64]


class CMAES:
    """A normal distribution over parameters that moves to where the fitness is greatest.

    It neither draws from NumPy's global generator nor prints nor writes files. Without :func:`~.evolve.evolve`::

        es = CMAES(10, seed=0)
        for generation in range(100):
            candidates = es.ask()
            es.tell(candidates, -(candidates**2).sum(1))

    :param mean: the first one, or the number of parameters for a mean of zeros
    :param sigma: first standard deviation of every parameter
    :param population_size: candidates in a generation
    :param seed: of the candidates
    :param diagonal_iterations: generations that learn the covariance's diagonal alone, which needs fewer of them
    :param l2_penalty: this times the mean of a candidate's squared parameters is taken off its fitness
    :raises ValueError: for arguments that are not accepted
    :raises ImportError: without pycma
    """

    def __init__(
        self,
        mean: int | ArrayLike,
        sigma: float = 0.1,
        population_size: int = 64,
        *,
        seed: int = 0,
        diagonal_iterations: int = 0,
        l2_penalty: float = 0.0,
    ) -> None:
        check_positive("sigma", sigma)
        is_number = isinstance(mean, int | np.integer)
        first = np.zeros(max(0, int(mean))) if is_number else np.array(mean, dtype=np.float64)  # type: ignore[arg-type]
        if first.ndim != 1 or first.size == 0 or not np.isfinite(first).all():
            raise ValueError(f"mean={mean!r}: accepted are a number of parameters and a vector of finite numbers")
        if population_size < 3:
            raise ValueError(f"population_size={population_size!r}: accepted are 3 and more")
        if diagonal_iterations < 0 or diagonal_iterations == 1:
            raise ValueError(f"diagonal_iterations={diagonal_iterations!r}: accepted are 0, and 2 and more")
        if not l2_penalty >= 0:
            raise ValueError(f"l2_penalty={l2_penalty!r}: accepted are numbers from 0 up")
        require("cma", "world-models")
        import cma

        self.n_parameters, self.population_size, self.l2_penalty = first.size, population_size, l2_penalty
        options = {
            "popsize": population_size,
            "randn": _Normal(seed),
            "seed": np.nan,  # leaves NumPy's global generator alone
            "CMA_diagonal": diagonal_iterations,
            "verbose": -9,
            "signals_filename": "",
        }
        self._es: Any = cma.CMAEvolutionStrategy(first, sigma, options)

    @property
    def mean(self) -> Floats:
        """Of the distribution, (n_parameters,): the estimate to use, less noisy than any candidate."""
        return np.array(self._es.gp.pheno(np.array(self._es.mean)), dtype=np.float64)

    @property
    def sigma(self) -> float:
        """The overall step size; the parameters' standard deviations are multiples of it."""
        return float(self._es.sigma)

    @property
    def generation(self) -> int:
        """How often it was told."""
        return int(self._es.countiter)

    def ask(self) -> Floats:
        """New candidates, (population_size, n_parameters)."""
        return np.array(self._es.ask(), dtype=np.float64)

    def tell(self, candidates: ArrayLike, fitness: ArrayLike) -> None:
        """Move the distribution; once after each :meth:`ask`.

        :param candidates: (population_size, n_parameters), those asked for
        :param fitness: (population_size,), the more the better; what is not finite counts as the worst of the others
        :raises ValueError: for other shapes, and if no fitness is finite
        """
        points, values = np.array(candidates, dtype=np.float64), np.array(fitness, dtype=np.float64)
        for name, value, shape in (
            ("candidates", points, (self.population_size, self.n_parameters)),
            ("fitness", values, (self.population_size,)),
        ):
            if value.shape != shape:
                raise ValueError(f"{name} of shape {value.shape}: accepted is {shape}")
        costs = self.l2_penalty * np.square(points).mean(1) - _finite(values)
        self._es.tell(list(points), costs.tolist())
        self._keep_sampler()

    def state_dict(self) -> dict[str, th.Tensor]:
        """All that later candidates depend on, for a checkpoint: a pickle, as bytes in a tensor."""
        return {"strategy": th.frombuffer(bytearray(pickle.dumps(self._es)), dtype=th.uint8)}

    def load_state_dict(self, state_dict: dict[str, th.Tensor]) -> None:
        """Go on from there, bit for bit. The state is unpickled: load it from files that you trust.

        :raises ValueError: if it is of another number of parameters or another population
        """
        es = pickle.loads(state_dict["strategy"].numpy().tobytes())
        for name, saved, own in (
            ("n_parameters", es.N, self.n_parameters),
            ("population_size", es.popsize, self.population_size),
        ):
            if saved != own:
                raise ValueError(f"state_dict with {name}={saved}: accepted is {own}, as constructed")
        self._es = es

    def _keep_sampler(self) -> None:
        """When pycma goes from diagonal to full covariances, it forgets these two options."""
        sampler, learning_rates = self._es.sm, self._es.sp
        if sampler.randn is not self._es.opts["randn"]:
            sampler.randn = self._es.opts["randn"]
            # Generations between eigendecompositions, as where covariances are full from the beginning
            sampler.lazy_update_gap = 0.1 / (learning_rates.c1 + learning_rates.cmu) / self.n_parameters


class _Normal:
    """Standard normal numbers of a generator of their own; a class, to be pickled with the rest of the state."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> Floats:
        return self.rng.standard_normal(shape)


def _finite(fitness: Floats) -> Floats:
    finite = np.isfinite(fitness)
    if not finite.any():
        raise ValueError(f"fitness: none of {len(fitness)} values is finite; accepted is one finite value or more")
    if not finite.all():
        n_bad, worst = int((~finite).sum()), fitness[finite].min()
        warnings.warn(
            f"fitness: {n_bad} of {len(fitness)} values are not finite; they count as the worst of the others, {worst}",
            stacklevel=3,
        )
        fitness = np.where(finite, fitness, worst)
    return fitness
