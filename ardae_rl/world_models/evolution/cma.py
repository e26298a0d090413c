"""CMA-ES (Hansen 2016) through pycma: ask for candidates, tell their fitness."""

import pickle
import warnings
from typing import Any

import numpy as np
import torch as th
from numpy.typing import ArrayLike, NDArray

from ardae_rl.common.checks import check_count, check_positive
from ardae_rl.common.optional import require

Floats = NDArray[np.float64]


class CMAES:
    """A normal distribution over parameters, which adapts to maximize a fitness.

    It does not use NumPy's global generator, print, or write files.

    Reference: Hansen (2016), The CMA Evolution Strategy: A Tutorial, https://arxiv.org/abs/1604.00772.

    Example:

    >>> from ardae_rl.world_models.evolution import CMAES
    >>> es = CMAES(mean=10, sigma=1.0, population_size=16, seed=0)
    >>> for generation in range(100):
    ...     candidates = es.ask()
    ...     es.tell(candidates, fitness=-(candidates**2).sum(1))
    >>> bool(abs(es.mean).max() < 0.1)
    True

    :param mean: Initial mean, or the number of parameters for a mean of zeros.
    :param sigma: Initial standard deviation of every parameter.
    :param population_size: Number of candidates in a generation.
    :param seed: Seed of the candidates.
    :raises ValueError: For a value outside of its range.
    :raises ImportError: If pycma is not installed.
    """

    def __init__(
        self,
        mean: int | ArrayLike,
        sigma: float = 0.1,
        population_size: int = 64,
        *,
        seed: int = 0,
    ) -> None:
        check_positive("sigma", sigma)
        is_number = isinstance(mean, int | np.integer)
        initial = np.zeros(max(0, int(mean))) if is_number else np.array(mean, dtype=np.float64)  # type: ignore[arg-type]
        if initial.ndim != 1 or initial.size == 0 or not np.isfinite(initial).all():
            raise ValueError(f"`mean` must be a number of parameters or a vector of finite numbers, got {mean!r}")
        check_count("population_size", population_size, 3)
        require("cma", "world-models")
        import cma

        self.n_parameters, self.population_size = initial.size, population_size
        options = {
            "popsize": population_size,
            "randn": _Normal(seed),
            "seed": np.nan,  # leaves NumPy's global generator alone
            "verbose": -9,
            "signals_filename": "",
        }
        self._es: Any = cma.CMAEvolutionStrategy(initial, sigma, options)

    @property
    def mean(self) -> Floats:
        """Mean of the distribution, (n_parameters,): the estimate to use, as it is less noisy than any candidate."""
        return np.array(self._es.gp.pheno(np.array(self._es.mean)), dtype=np.float64)

    @property
    def sigma(self) -> float:
        """Overall step size, which scales the standard deviations of all parameters."""
        return float(self._es.sigma)

    @property
    def generation(self) -> int:
        """Number of calls of :meth:`tell`."""
        return int(self._es.countiter)

    def ask(self) -> Floats:
        """Return new candidates, (population_size, n_parameters)."""
        return np.array(self._es.ask(), dtype=np.float64)

    def tell(self, candidates: ArrayLike, fitness: ArrayLike) -> None:
        """Update the distribution, once after each :meth:`ask`.

        :param candidates: Candidates returned by :meth:`ask`, (population_size, n_parameters).
        :param fitness: Fitness to maximize, (population_size,). Values that are not finite are replaced by the worst
            finite one, with a warning.
        :raises ValueError: For other shapes, or if no fitness is finite.
        """
        points, values = np.array(candidates, dtype=np.float64), np.array(fitness, dtype=np.float64)
        for name, value, shape in (
            ("candidates", points, (self.population_size, self.n_parameters)),
            ("fitness", values, (self.population_size,)),
        ):
            if value.shape != shape:
                raise ValueError(f"`{name}` must have shape {shape}, got {value.shape}")
        self._es.tell(list(points), (-_finite(values)).tolist())

    def state_dict(self) -> dict[str, th.Tensor]:
        """Return everything that later candidates depend on, for a checkpoint: a pickle, as bytes in a tensor."""
        return {"strategy": th.frombuffer(bytearray(pickle.dumps(self._es)), dtype=th.uint8)}

    def load_state_dict(self, state_dict: dict[str, th.Tensor]) -> None:
        """Continue from a state, bit for bit. The state is unpickled, so load it only from files that you trust.

        :raises ValueError: For a state with another number of parameters or another population size.
        """
        es = pickle.loads(state_dict["strategy"].numpy().tobytes())
        for name, saved, expected in (
            ("n_parameters", es.N, self.n_parameters),
            ("population_size", es.popsize, self.population_size),
        ):
            if saved != expected:
                raise ValueError(f"`state_dict` must have {name}={expected}, got {saved}")
        self._es = es


class _Normal:
    """Draws standard normal numbers from its own generator; a class, so that it is pickled with the state."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> Floats:
        return self.rng.standard_normal(shape)


def _finite(fitness: Floats) -> Floats:
    finite = np.isfinite(fitness)
    if not finite.any():
        raise ValueError(f"`fitness` must have at least one finite value, got none in {len(fitness)}")
    if not finite.all():
        n_bad, worst = int((~finite).sum()), fitness[finite].min()
        warnings.warn(
            f"{n_bad} of {len(fitness)} values of `fitness` are not finite; they count as the worst one, {worst}",
            stacklevel=3,
        )
        fitness = np.where(finite, fitness, worst)
    return fitness
