"""Public names are typed for users: mypy checks what `assert_type` says here."""

from typing import assert_type

import numpy

from dlngeo import (
    DeepFixedRank,
    DepthMetric,
    FixedRankMatrices,
    ReluNetwork,
    conservation_laws,
    factorize,
    langevin,
    learning_flow,
    minimize,
)
from dlngeo.intrinsic.conservation.laws import ConservationLaws
from dlngeo.sampling import LangevinResult
from dlngeo.solvers import Factorization, FlowResult, LeastSquaresProblem, Minimum
from dlngeo.thermodynamics import Equilibrium


def test_results_have_types():
    loss = Factorization(numpy.eye(2))
    flow = learning_flow(loss, factorize(numpy.diag([0.5, 0.4]), 2), t_final=0.1)
    assert_type(flow, FlowResult)
    assert_type(flow.success, bool)
    assert_type(conservation_laws((1, 1)), ConservationLaws)
    chains = langevin(
        loss.gradient, numpy.eye(2)[None], depth=2, beta=1.0, step_size=0.01, n_steps=2, rng=0
    )
    assert_type(chains, LangevinResult)
    problem = LeastSquaresProblem(DeepFixedRank(2, 2, rank=1, depth=2), loss)
    minimum = minimize(problem, max_iterations=2)
    assert_type(minimum, Minimum)


def test_classes_have_types():
    space = FixedRankMatrices(2, 2)
    assert_type(space, FixedRankMatrices)
    assert_type(DepthMetric(space, depth=2).depth, float)
    assert_type(ReluNetwork.from_widths((2, 2, 1)), ReluNetwork)
    assert_type(Equilibrium(lambda s: s.sum(-1), (1, 1), beta=1.0), Equilibrium)
