"""Functions and data of one library, and points of another: the right numbers, or a clear error."""

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import jax
import numpy as np
import pytest
import torch
from geomstats.geometry.euclidean import Euclidean

from dlngeo import intrinsic, manifolds, solvers, thermodynamics
from tests.public_calls import VALUES
from tests.test_odd_arguments import is_clear

INPUTS = np.random.default_rng(3).normal(size=(5, 3))
OWN = {"autograd": anp.array, "torch": torch.tensor, "jax": jax.numpy.asarray}
TANH = {"autograd": anp.tanh, "torch": torch.tanh, "jax": jax.numpy.tanh}


def of_library(library: str) -> dict[str, Callable[[Any], Any]]:
    """Return functions of points, of what keeps functions and data of a library."""
    own, tanh = OWN[library], TANH[library]

    def losses(x: Any) -> Any:
        return tanh(own(INPUTS) @ x) ** 2

    samples = solvers.SampleLosses((3,), losses)
    return {
        "metric": manifolds.DiffusionMetric(Euclidean(3), losses).metric_matrix,
        "values": samples.values,
        "gradients": samples.matrix,
        "second derivatives": lambda x: samples.bend(x, x, x),
        "map": intrinsic.SmoothMap(losses).matrix,
        "law": lambda x: intrinsic.intrinsic_metric(losses, x) @ np.ones(5),
        "energy": lambda x: thermodynamics.free_energy(
            lambda m: (own(np.ones((1, 3))) * m).sum(), x[None], (3, 1), 2.0
        ),
        "networks": solvers.NetworkSamples(own(INPUTS), own(INPUTS[:, :1]), (3, 1)).losses,
        "flow": lambda x: (
            solvers.learning_flow(
                lambda m: (tanh(m) ** 2).sum(), x[None], depth=2, t_final=0.1, n_saved=2
            ).observables
        ),
        "problem": lambda x: (
            solvers.minimize(
                solvers.LeastSquaresProblem(
                    manifolds.from_geomstats(manifolds.FixedRankMatrices(1, 3)),
                    solvers.Factorization(own(np.ones((1, 3)))),
                ),
                x[None],
                max_iterations=50,
            ).point
        ),
        "fibre": lambda x: manifolds.Fibre(own(np.ones((1, 3))), (3, 1, 1)).belongs(
            np.stack([x, x])
        ),
    }


# What runs on NumPy's arrays alone.
ON_HOST = {"law", "problem", "fibre"}


@pytest.mark.filterwarnings("ignore:__array_wrap__")
@pytest.mark.parametrize("library", OWN)
def test_points_of_other_libraries(library):
    """The numbers of the library's own points, or a clear error of the package."""
    for name, function in of_library(library).items():
        answers, unclear = [], []
        for kind in OWN.values():
            try:
                answers.append(np.asarray(function(kind(VALUES))))
            except (TypeError, ValueError, NotImplementedError) as error:
                unclear += [] if is_clear(error) else [repr(error)]
        assert not unclear, f"{name}: {unclear}"
        for answer in answers[1:]:
            np.testing.assert_allclose(answer, answers[0], rtol=1e-5, err_msg=name)
        assert answers or (library != "autograd" and name in ON_HOST), name
