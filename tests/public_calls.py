"""Every public function with one valid call: a new one joins by a line.

The values are small, and the calls take milliseconds.
"""

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy
from geomstats.geometry.euclidean import Euclidean

import dlngeo
from dlngeo import (
    core,
    intrinsic,
    manifolds,
    networks,
    sampling,
    solvers,
    systems,
    thermodynamics,
)
from dlngeo.intrinsic.relu import path_lifting, rescaling

RNG = numpy.random.default_rng(0)
X = RNG.normal(size=(3, 3))
Y = X + 0.1 * RNG.normal(size=(3, 3))
Z, V = RNG.normal(size=(2, 3, 3)) / 5
W = RNG.normal(size=(3, 3, 3))
TWO = RNG.normal(size=(2, 3, 3))
BALANCED = dlngeo.balance(W)
TANGENT, OTHER = (
    core.balanced.tangent_projection(BALANCED, v) for v in RNG.normal(size=(2, 3, 3, 3)) / 9
)
NEAR = dlngeo.balance(BALANCED + 0.05 * TANGENT)
HIDDEN = RNG.normal(size=(2, 3, 3))
GROUP = HIDDEN @ HIDDEN.swapaxes(-1, -2) + numpy.eye(3)
SKEW = HIDDEN - HIDDEN.swapaxes(-1, -2)
ON_FIBRE = core.fibres.tangent_projection(W, RNG.normal(size=W.shape))
SIGMA = numpy.array([2.0, 1.0, 0.5])
SQUARE = (3, 3, 3, 3)
ROWS, COLUMNS, VALUES = numpy.array([0, 1, 2]), numpy.array([1, 0, 2]), numpy.array([1.0, 2, 3])
INPUTS, OUTPUTS = RNG.normal(size=(2, 5, 3))
A, B, C = numpy.diag([-1.0, -2.0, -5.0]), numpy.ones((3, 1)), numpy.ones((1, 3))
RELU = intrinsic.ReluNetwork.from_widths((2, 3, 2))
THETA, ETA = RNG.normal(size=(2, RELU.n_parameters))
LAWS = rescaling.conserved_values(RELU, THETA)
LIFTED = path_lifting.lift(RELU, THETA)
TARGET = solvers.Factorization(numpy.eye(3))
FRAMES = manifolds.DeepFixedRank(3, 3, 2, 2)
STATES = dlngeo.learning_flow(TARGET, BALANCED, t_final=0.1, n_saved=3).factors
SAMPLES = solvers.NetworkSamples(INPUTS, OUTPUTS, (3, 3, 3)).samples
EQUILIBRIUM = thermodynamics.Equilibrium(lambda s: (s**2).sum(-1), widths=(1, 2, 1), beta=2.0)


def gradient(x: Any) -> Any:
    return x


def energy(s: Any) -> Any:
    return (s**2).sum(axis=-1) / 2


def matrix_energy(x: Any) -> Any:
    return (x**2).sum(axis=(-2, -1)) / 2


def lift(theta: Any) -> Any:
    return anp.array([theta[0] * theta[1], theta[1] * theta[2]])


def polynomials(theta: Any) -> Any:
    return [theta[0] * theta[1], theta[1] * theta[2]]


def law(theta: Any) -> Any:
    return anp.array([theta[0] ** 2 - theta[1] ** 2 + theta[2] ** 2])


def _space(depth: float = 3, rank: int | None = None) -> Any:
    return manifolds.FixedRankMatrices(3, 3, rank).equip_with_metric(
        manifolds.DepthMetric, depth=depth
    )


DEPTH = _space()
NETWORKS = manifolds.BalancedManifold(depth=3, width=3)
NETWORKS.equip_with_group_action(manifolds.OrbitAction(NETWORKS))
NETWORKS.equip_with_quotient()
RELAXED = manifolds.FixedRankMatrices(3, 3).equip_with_metric(
    manifolds.RelaxedDepthMetric, offsets=(0.5,)
)
NOISY = Euclidean(3)
NOISY.equip_with_metric(
    manifolds.DiffusionMetric,
    sample_losses=lambda x: anp.tanh(anp.array(INPUTS) @ x) ** 2,
    scale=0.5,
)
MANIFOLD = dlngeo.from_geomstats(DEPTH)
PROBLEM = solvers.LeastSquaresProblem(FRAMES, TARGET)
POINT = (numpy.eye(3)[:, :2], numpy.array([2.0, 1.0]), numpy.eye(3)[:2])


class Call:
    """A function with valid arguments."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any):
        self.function = function
        self.arguments: dict[int | str, Any] = dict(enumerate(args)) | kwargs

    def __call__(self, changes: dict[int | str, Any] | None = None) -> Any:
        """Call it, with some of the arguments, by place or name, replaced."""
        given = self.arguments | (changes or {})
        args = [value for place, value in given.items() if isinstance(place, int)]
        kwargs = {name: value for name, value in given.items() if isinstance(name, str)}
        return self.function(*args, **kwargs)


def calls_of(owner: Any, prefix: str, **arguments: tuple | dict) -> dict[str, Call]:
    """Return calls of functions, or of methods, of their positional and then named arguments."""
    calls = {}
    for name, given in arguments.items():
        kwargs = given[-1] if given and isinstance(given[-1], dict) else {}
        args = given[: len(given) - bool(kwargs)]
        calls[f"{prefix}{name}"] = Call(getattr(owner, name), *args, **kwargs)
    return calls


FLOW = {"t_final": 0.1, "n_saved": 3}
NOISE = {"learning_rate": 0.1, "batch_size": 2, "n_steps": 3, "rng": 0}
LANGEVIN = {"depth": 3, "beta": 2.0, "step_size": 0.01, "n_steps": 3, "rng": 0}

CALLS: dict[str, Call] = {
    **calls_of(
        core.networks,
        "core.networks.",
        end_to_end=(W,),
        moment_map=(W,),
        balance=(W, {"rank": 3}),
        factorize=(X, 3, {"widths": SQUARE, "rank": 2}),
        act=(GROUP, W),
        infinitesimal_action=(SKEW, W),
        differential=(W, TANGENT),
        adjoint_differential=(W, Z),
    ),
    **calls_of(
        core.balanced,
        "core.balanced.",
        align=(BALANCED, NEAR),
        tangent_basis=(BALANCED,),
        balanced_curvature=(BALANCED, TANGENT, OTHER, TANGENT),
        balanced_ricci=(BALANCED, TANGENT),
        balanced_scalar_curvature=(BALANCED,),
        balanced_sectional_curvature=(BALANCED, TANGENT, OTHER),
        dimension=(SQUARE, 2),
        mean_curvature=(BALANCED,),
        second_fundamental_form=(BALANCED, TANGENT, OTHER),
        tangent_projection=(BALANCED, W),
        weingarten_map=(BALANCED, TANGENT, W),
    ),
    **calls_of(
        core.depth_metric,
        "core.depth_metric.",
        christoffel=(X, Z, V, 3),
        riemann_curvature=(X, Z, V, Z, 3),
        sectional_curvature=(X, Z, V, 3),
        raise_index=(X, Z, 3),
        lower_index=(X, Z, 3),
        tangent_projection=(X, Z),
        ricci=(X, Z, 3),
        scalar_curvature=(X, 3),
        horizontal_lift=(BALANCED, Z),
        horizontal_projection=(BALANCED, TANGENT),
        vertical_projection=(BALANCED, TANGENT),
        integrability_tensor=(BALANCED, TANGENT, OTHER),
    ),
    **calls_of(
        core.fibres,
        "core.fibres.",
        algebra_element=(W, ON_FIBRE),
        fibre_dimension=(SQUARE,),
        group_gradient=(W, W),
        group_inner_product=(W, ON_FIBRE, ON_FIBRE),
        normal_projection=(W, TANGENT),
        tangent_projection=(W, TANGENT),
        project_to_fibre=(W, dlngeo.end_to_end(W)),
        gram_solve=(W, Z),
        certificate=(W,),
        kempf_ness=(W, GROUP),
        kempf_ness_gradient=(W, GROUP),
        kempf_ness_hessian=(W, GROUP, HIDDEN + HIDDEN.swapaxes(-1, -2)),
        limit_metrics=(W,),
        metric_flow=(TWO, 0.5),
        polar_flow=(TWO, 0.5),
        schatten_minimum=(X, 3, 2.0),
        schatten_norm=(W, 2.0),
    ),
    **calls_of(
        core.geodesics,
        "core.geodesics.",
        balanced_exp=(BALANCED, TANGENT),
        balanced_transport=(BALANCED, TANGENT, OTHER),
        exp=(X, Z, 3),
        log=(X, Y, 3),
        dist=(X, Y, 3),
        squared_dist=(X, Y, 3),
        parallel_transport=(X, Z, V, 3),
        jacobi_field=(X, Z, V, Z, 3),
    ),
    "core.geodesics.geodesic": Call(
        lambda x, v, depth, t: core.geodesics.geodesic(x, v, depth)(t), X, Z, 3, VALUES / 5
    ),
    "core.relaxed.relaxed_network": Call(core.relaxed.relaxed_network, (0.5,), (3, 3, 3)),
    **calls_of(
        thermodynamics,
        "thermodynamics.",
        entropy=(X, SQUARE),
        entropy_gradient=(X, SQUARE),
        network_entropy=(W,),
        free_energy=(matrix_energy, X, SQUARE, 2.0),
        log_orthogonal_volume=(3,),
        log_stiefel_volume=(3, 2),
        spectral_entropy=(SIGMA, SQUARE),
        spectral_entropy_gradient=(SIGMA, SQUARE),
        log_volume_density=(X, 3),
        log_balanced_prior=(X, 3, 2.0),
        log_profile_prior=(X, 3, 2.0),
        log_marginal_prior=(VALUES, 2, 2.0),
        sample_marginal_prior=(SQUARE, 2, 2.0, {"seed": 0}),
        shrinkage=(SIGMA, 3, 0.1),
        Equilibrium=(energy, (1, 2, 1), {"beta": 2.0}),
        diffusion_constant=(EQUILIBRIUM,),
        mean_passage_time=(EQUILIBRIUM, 1.0, 2.0),
    ),
    **calls_of(
        networks,
        "networks.",
        distance=(BALANCED, NEAR),
        interpolate=(BALANCED, NEAR, VALUES / 5),
        mean=([BALANCED, NEAR],),
        report=(W, TARGET),
        exact_learning=(X, W[:1], VALUES),
        hessian_product=(W, TARGET, TANGENT),
        hessian_spectrum=(W, TARGET),
        largest_step=(W, TARGET, {"momentum": 0.5}),
        lowest_curvature=(W, matrix_energy),
        minimum_spectrum=(X, 3, GROUP[0]),
        neural_tangent_kernel=(W, INPUTS, OUTPUTS),
        sharpness=(W, matrix_energy),
    ),
    **calls_of(
        systems,
        "systems.",
        controllability_gramian=(A, B),
        observability_gramian=(A, C),
        hankel_singular_values=(A, B, C, {"dt": 0}),
        balanced_realization=(A, B, C),
        balanced_truncation=(A, B, C, {"order": 1, "method": "matchdc"}),
    ),
    **calls_of(
        intrinsic,
        "intrinsic.",
        conservation_laws=((2, 3, 2), "relu", {"bias": True}),
        check_conservation=(STATES,),
        conservation_laws_of=(polynomials, 3),
        polynomial_laws=(polynomials, 3, {"degree": 2}),
        intrinsic_counterexample=(W, {"distance": 0.5}),
        relaxed_balanced=(X, (0.5,)),
        relaxed_offsets=(BALANCED,),
        intrinsic_properties=(lift, law, VALUES),
        linear_ode=(GROUP[0], 0.5),
        residual_factors=(W,),
        residual_law=(W,),
        recover=(RELU, LIFTED, LAWS),
    ),
    "intrinsic.linear_ode.flow": Call(
        lambda x, s: intrinsic.linear_ode(x).flow(s), GROUP[0], VALUES / 5
    ),
    "intrinsic.intrinsic_metric": Call(
        lambda phi, x: (m := intrinsic.intrinsic_metric(phi, x)) @ numpy.ones(m.shape[1]),
        lift,
        VALUES,
    ),
    **calls_of(RELU, "intrinsic.ReluNetwork.", outputs=(THETA, INPUTS[:, :2])),
    "intrinsic.ReluNetwork.from_widths": Call(
        lambda widths: intrinsic.ReluNetwork.from_widths(widths).n_parameters, (2, 3, 2)
    ),
    **calls_of(
        path_lifting,
        "intrinsic.relu.path_lifting.",
        lift=(RELU, THETA),
        jacobian=(RELU, THETA),
        inner_product=(RELU, THETA, ETA),
        path_norm=(RELU, THETA, 2.0),
        pullback=(RELU, THETA, ETA),
        jacobian_product=(RELU, THETA, ETA),
    ),
    **calls_of(
        rescaling,
        "intrinsic.relu.rescaling.",
        conserved_values=(RELU, THETA),
        rescale=(RELU, THETA, VALUES),
        with_conserved_values=(RELU, THETA, LAWS),
        horizontal_projection=(RELU, THETA, ETA),
    ),
    **calls_of(
        solvers,
        "solvers.",
        learning_flow=(TARGET, BALANCED, {"weight_decay": 0.1, "balancing": 0.1, **FLOW}),
        gradient_descent=(
            solvers.LinearRegression(INPUTS, OUTPUTS),
            W,
            0.01,
            {"n_steps": 3, "momentum": 0.5, "weight_decay": 0.1, "batch": 2, "label_noise": 0.1}
            | {"sharpness": False, "rng": 0, "n_saved": 2},
        ),
        balancing_flow=(W, "l2", FLOW),
        relu_flow=(
            lambda y: ((y - OUTPUTS[:, :2]) ** 2).sum(),
            RELU,
            THETA,
            INPUTS[:, :2],
            {**FLOW, "gradient": lambda y: 2 * (y - OUTPUTS[:, :2])},
        ),
        minimize=(PROBLEM, POINT, {"max_iterations": 5, "tolerance": 1e-6}),
        forced_geodesic=(NOISY.metric, VALUES, VALUES, {"friction": 0.1, **FLOW}),
        noise_spectrum=(INPUTS, 2, {"rng": 0}),
        sgd=(SAMPLES, TWO, NOISE),
        sgd_diffusion=(SAMPLES, TWO, {"substeps": 1, **NOISE}),
        compare_sgd=(
            SAMPLES,
            TWO,
            {"learning_rates": [0.1], "batch_size": 2, "t_final": 0.2, "n_paths": 3, "rng": 0},
        ),
    ),
    "solvers.learning_flow of a matrix": Call(
        solvers.learning_flow, TARGET, X, depth=3, rank=3, **FLOW
    ),
    **{
        f"solvers.{loss.__name__}": Call(
            lambda *data, loss=loss: [
                loss(*data[:-1])(data[-1]),
                loss(*data[:-1]).gradient(data[-1]),
            ],
            *data,
            X,
        )
        for loss, data in (
            (solvers.Factorization, (Y,)),
            (solvers.MatrixCompletion, (Y, numpy.ones((3, 3), dtype=bool))),
            (solvers.LinearRegression, (INPUTS, OUTPUTS)),
            (solvers.MatrixSensing, (W, VALUES)),
            (solvers.SparseMatrixCompletion, (ROWS, COLUMNS, VALUES, (3, 3))),
        )
    },
    "solvers.NetworkSamples": Call(
        lambda inputs, outputs, widths, point: solvers.NetworkSamples(
            inputs, outputs, widths
        ).gradients(point),
        INPUTS,
        OUTPUTS,
        (3, 3, 3),
        TWO,
    ),
    "sampling.langevin of factors": Call(
        sampling.langevin,
        gradient,
        BALANCED[None],
        **{name: value for name, value in LANGEVIN.items() if name != "depth"},
    ),
    **calls_of(
        manifolds,
        "manifolds.",
        BalancedManifold=({"widths": SQUARE, "rank": 2},),
        FixedRankMatrices=(3, 3, 2),
        DeepFixedRank=(3, 3, 2, 2),
        BalancedFactors=(SQUARE, 2),
    ),
    **calls_of(
        NETWORKS,
        "manifolds.BalancedManifold.",
        belongs=(BALANCED,),
        is_tangent=(TANGENT, BALANCED),
        to_tangent=(W, BALANCED),
        projection=(W,),
        random_point=(2, {"bound": 1.0}),
        second_fundamental_form=(TANGENT, OTHER, BALANCED),
    ),
    **calls_of(
        NETWORKS.metric,
        "manifolds.BalancedMetric.",
        inner_product=(TANGENT, OTHER, BALANCED),
        squared_norm=(TANGENT, BALANCED),
        norm=(TANGENT, BALANCED),
        exp=(TANGENT, BALANCED),
        scalar_curvature=(BALANCED,),
    ),
    **calls_of(
        NETWORKS.fiber_bundle,
        "manifolds.OrbitBundle.",
        horizontal_projection=(TANGENT, BALANCED),
        horizontal_lift=(Z, {"fiber_point": BALANCED}),
        riemannian_submersion=(BALANCED,),
        align=(NEAR, BALANCED),
    ),
    **calls_of(
        DEPTH,
        "manifolds.FixedRankMatrices.",
        belongs=(X,),
        is_tangent=(Z, X),
        to_tangent=(Z, X),
        projection=(X,),
        random_point=(2, {"bound": 1.0}),
    ),
    **calls_of(
        DEPTH.metric,
        "manifolds.DepthMetric.",
        inner_product=(Z, V, X),
        squared_norm=(Z, X),
        norm=(Z, X),
        normalize=(Z, X),
        exp=(Z, X),
        log=(Y, X),
        dist=(X, Y),
        squared_dist=(X, Y),
        parallel_transport=(V, X, Z),
        riemannian_gradient=(Z, X),
        curvature=(Z, V, Z, X),
        sectional_curvature=(Z, V, X),
        ricci=(Z, X),
        scalar_curvature=(X,),
    ),
    **calls_of(
        RELAXED.metric,
        "manifolds.RelaxedDepthMetric.",
        inner_product=(Z, V, X),
        exp=(Z, X),
        riemannian_gradient=(Z, X),
    ),
    **calls_of(
        NOISY.metric,
        "manifolds.DiffusionMetric.",
        inner_product=(VALUES, VALUES, VALUES),
        exp=(VALUES / 9, VALUES),
        scalar_curvature=(VALUES,),
        sectional_curvature=(VALUES, SIGMA, VALUES),
    ),
    "manifolds.from_geomstats": Call(dlngeo.from_geomstats, DEPTH),
    **calls_of(
        MANIFOLD,
        "manifolds.from_geomstats.",
        inner_product=(X, Z, V),
        retraction=(X, Z),
        euclidean_to_riemannian_gradient=(X, Z),
    ),
}
