"""Valid calls of what takes functions and objects, and of methods: a new one joins by a line."""

from typing import Any

import autograd.numpy as anp
import numpy
import torch
from geomstats.geometry.euclidean import Euclidean

from dlngeo import core, intrinsic, manifolds, sampling, solvers, thermodynamics
from dlngeo.intrinsic.relu import path_lifting, rescaling
from tests import public_calls as valid
from tests.public_calls import Call, calls_of

FIBRE = manifolds.Fibre.through(valid.W)
LAYERS = manifolds.BalancedFactors(valid.SQUARE, 3)
FACTORS = tuple(valid.BALANCED)
STILL = LAYERS.zero_vector(FACTORS)
REST = valid.FRAMES.zero_vector(valid.POINT)
BATCHED = core.gradient_noise.NetworkSamples(valid.INPUTS, valid.OUTPUTS, (3, 3, 3))
FLAT, OF_SAMPLES = valid.TWO.ravel(), valid.INPUTS[:, 0]
MATRICES = numpy.stack([valid.X, valid.Y])
CHAINS = numpy.array([[2.0, 1.0, 0.5], [3.0, 1.0, 0.2]])
DECAY = sampling.WeightDecay(2)
CHAIN: dict[str, Any] = {"initial": CHAINS, "energy": DECAY, "depth": 2, "step_size": 0.1}
RESULT = sampling.langevin(
    beta=sampling.Ladder((1.0, 2.0)), n_steps=20, save_every=5, rng=0, **CHAIN
)
KNOWN = solvers.Entries(*(numpy.array(a) for a in ([0, 1, 2, 0], [0, 1, 2, 1], [1.0, 2, 3, 4])))
HELD_OUT = solvers.Entries(*(numpy.array(a) for a in ([0, 1], [2, 0], [1.0, 2])))
WELLS = thermodynamics.Equilibrium(sampling.DoubleWell((0.2, 2.0), 3.0), widths=(1, 2, 1), beta=4.0)
HORIZONTAL = [
    core.depth_metric.horizontal_projection(valid.BALANCED, v) for v in (valid.TANGENT, valid.OTHER)
]


def margin(x: Any) -> Any:
    return (x**2).sum() - 1e-3


def shrinking(k: int) -> float:
    return 0.01 / (1 + k)


def losses(x: Any) -> Any:
    return anp.tanh(anp.array(valid.INPUTS) @ x) ** 2


def gradients(x: Any) -> Any:
    t = numpy.tanh(valid.INPUTS @ x)
    return (2 * t * (1 - t**2))[:, None] * valid.INPUTS


def products(x: Any, v: Any) -> Any:
    t = numpy.tanh(valid.INPUTS @ x)
    bend = 2 * (1 - t**2) * (1 - 3 * t**2)
    return (bend * (valid.INPUTS @ v))[:, None] * valid.INPUTS


def jacobian(theta: Any) -> Any:
    return numpy.array([[theta[1], theta[0], 0], [0, theta[2], theta[1]]])


def recorded(x: Any) -> Any:
    return {"sum": x.sum(axis=(-2, -1))}


def first(sigma: Any) -> Any:
    return sigma[..., 0]


def decay_at(depth: int) -> Any:
    return sampling.WeightDecay(depth)


def rising(time: Any) -> Any:
    return 1.0 + time / 2


def task(a: float, rng: Any) -> float:
    return a


def of_noise(*names: str) -> Any:
    return lambda *functions: (
        Euclidean(3)
        .equip_with_metric(manifolds.DiffusionMetric, **dict(zip(names, functions, strict=True)))
        .metric.exp(valid.VALUES / 9, valid.VALUES)
    )


CALLS: dict[str, Call] = {
    **calls_of(
        core.geodesics,
        "core.geodesics.",
        align_horizontally=(valid.NEAR, valid.BALANCED),
        connect=(valid.X, valid.Y, 3),
        dist_pairwise=(MATRICES, 3),
    ),
    "core.depth_metric.integrability_tensor_derivative": Call(
        core.depth_metric.integrability_tensor_derivative,
        valid.BALANCED,
        *HORIZONTAL,
        valid.TANGENT,
        valid.OTHER,
        valid.TANGENT,
    ),
    "core.relaxed.intrinsic_network": Call(core.relaxed.intrinsic_network, (0.5,), (3, 3)),
    **calls_of(
        BATCHED,
        "core.gradient_noise.NetworkSamples.",
        gradients=(valid.TWO,),
        hvp=(valid.TWO, valid.TWO),
        losses=(valid.TWO,),
        moment_step=(valid.TWO, {"learning_rate": 0.1, "batch_size": 2.0, "replacement": True}),
    ),
    **calls_of(
        BATCHED.samples,
        "core.gradient_noise.SampleLosses.",
        values=(FLAT,),
        matrix=(FLAT,),
        push=(FLAT, FLAT),
        bend=(FLAT, FLAT, FLAT),
    ),
    "solvers.SampleLosses": Call(
        lambda f, g, h, x: [
            solvers.SampleLosses((3,), f).values(x),
            solvers.SampleLosses((3,), None, g, h).push(x, x),
            solvers.SampleLosses((3,), None, g, h).turn(x, OF_SAMPLES, x),
        ],
        losses,
        gradients,
        products,
        valid.VALUES,
    ),
    **calls_of(
        valid.NOISY.metric,
        "manifolds.DiffusionMetric.",
        christoffel_action=(valid.VALUES, valid.SIGMA, valid.VALUES),
        christoffels=(valid.VALUES,),
        curvature=(valid.VALUES, valid.SIGMA, valid.VALUES, valid.VALUES),
        diffusion=(valid.SIGMA, valid.VALUES),
        flat=(valid.SIGMA, valid.VALUES),
        geodesic_equation=(numpy.stack([valid.VALUES, valid.SIGMA]),),
        inner_coproduct=(valid.SIGMA, valid.VALUES, valid.VALUES),
        inner_product_derivative_matrix=(valid.VALUES,),
        log_volume_density=(valid.VALUES,),
        metric_matrix=(valid.VALUES,),
        parallel_transport=(valid.SIGMA, valid.VALUES, valid.SIGMA / 9),
        riemann_tensor=(valid.VALUES,),
        riemannian_gradient=(valid.SIGMA, valid.VALUES),
    ),
    "manifolds.DiffusionMetric of losses": Call(of_noise("sample_losses"), losses),
    "manifolds.DiffusionMetric of derivatives": Call(
        of_noise("sample_gradients", "sample_hvp"), gradients, products
    ),
    "manifolds.DiffusionMetric of batches": Call(
        lambda **options: manifolds.DiffusionMetric(
            Euclidean(3), lambda x, i: losses(x)[i], **options
        ).metric_matrix(valid.VALUES),
        n_samples=5,
        batch_size=3,
        rng=0,
    ),
    "manifolds.DepthMetric": Call(manifolds.DepthMetric, manifolds.FixedRankMatrices(3, 3), 3.0),
    "manifolds.RelaxedDepthMetric": Call(
        manifolds.RelaxedDepthMetric, manifolds.FixedRankMatrices(3, 3), (0.5,)
    ),
    "manifolds.Entries": Call(
        lambda space, x: manifolds.Entries(space).from_matrices(x), valid.DEPTH, valid.X
    ),
    "manifolds.OrbitAction": Call(manifolds.OrbitAction, valid.NETWORKS),
    **calls_of(
        valid.DEPTH.metric,
        "manifolds.DepthMetric.",
        cometric_matrix=(valid.X,),
        flat=(valid.Z, valid.X),
        inner_coproduct=(valid.Z, valid.V, valid.X),
        log_volume_density=(valid.X,),
        metric_matrix=(valid.X,),
        ricci_tensor=(valid.X,),
        dist_pairwise=(MATRICES, {"progress": False}),
    ),
    "manifolds.DepthMetric.geodesic": Call(
        lambda x, y, t: valid.DEPTH.metric.geodesic(x, end_point=y)(t),
        valid.X,
        valid.Y,
        valid.VALUES / 9,
    ),
    **calls_of(
        valid.RELAXED.metric,
        "manifolds.RelaxedDepthMetric.",
        cometric_matrix=(valid.X,),
        flat=(valid.Z, valid.X),
        inner_coproduct=(valid.Z, valid.V, valid.X),
        metric_matrix=(valid.X,),
    ),
    **calls_of(
        valid.NETWORKS,
        "manifolds.BalancedManifold.",
        from_factors=(valid.W,),
        mean_curvature_vector=(valid.BALANCED,),
        retraction=(valid.TANGENT, valid.BALANCED),
        tangent_basis=(valid.BALANCED,),
        to_factors=(valid.BALANCED,),
    ),
    **calls_of(
        valid.NETWORKS.metric,
        "manifolds.BalancedMetric.",
        curvature=(valid.TANGENT, valid.OTHER, valid.TANGENT, valid.BALANCED),
        inner_coproduct=(valid.TANGENT, valid.OTHER, valid.BALANCED),
        metric_matrix=(valid.BALANCED,),
        ricci=(valid.TANGENT, valid.BALANCED),
        riemannian_gradient=(valid.W, valid.BALANCED),
        sectional_curvature=(valid.TANGENT, valid.OTHER, valid.BALANCED),
    ),
    "manifolds.Fibre": Call(manifolds.Fibre, valid.X, valid.SQUARE),
    **calls_of(
        FIBRE,
        "manifolds.Fibre.",
        belongs=(valid.W,),
        from_factors=(valid.W,),
        is_tangent=(valid.ON_FIBRE, valid.W),
        projection=(valid.W,),
        random_point=(2, {"bound": 1.0}),
        regularize=(valid.W,),
        to_normal=(valid.TANGENT, valid.W),
        to_tangent=(valid.TANGENT, valid.W),
    ),
    **calls_of(
        FIBRE.metric,
        "manifolds.FibreMetric.",
        inner_product=(valid.ON_FIBRE, valid.ON_FIBRE, valid.W),
        metric_matrix=(valid.W,),
        riemannian_gradient=(valid.TANGENT, valid.W),
    ),
    **calls_of(
        valid.NETWORKS.fiber_bundle,
        "manifolds.OrbitBundle.",
        integrability_tensor=(valid.TANGENT, valid.OTHER, valid.BALANCED),
        is_horizontal=(valid.TANGENT, valid.BALANCED),
        is_vertical=(valid.TANGENT, valid.BALANCED),
        lift=(valid.X,),
        tangent_riemannian_submersion=(valid.TANGENT, valid.BALANCED),
        vertical_projection=(valid.TANGENT, valid.BALANCED),
    ),
    **calls_of(
        LAYERS,
        "manifolds.BalancedFactors.",
        inner_product=(FACTORS, STILL, STILL),
        projection=(FACTORS, FACTORS),
        retraction=(FACTORS, STILL),
        exp=(FACTORS, STILL),
    ),
    **calls_of(
        valid.FRAMES,
        "manifolds.DeepFixedRank.",
        inner_product=(valid.POINT, REST, REST),
        embedding=(valid.POINT, REST),
        euclidean_to_riemannian_gradient=(valid.POINT, valid.Z),
        retraction=(valid.POINT, REST),
        projection=(valid.POINT, tuple(REST)),
        exp=(valid.POINT, REST),
    ),
    "solvers.LeastSquaresProblem": Call(
        lambda manifold, loss: solvers.LeastSquaresProblem(manifold, loss).spectral_point(),
        valid.FRAMES,
        valid.TARGET,
    ),
    "solvers.minimize until told": Call(
        solvers.minimize,
        valid.PROBLEM,
        valid.POINT,
        stop=lambda point, cost: True,
        progress=False,
    ),
    "solvers.geodesic_deviation": Call(
        solvers.geodesic_deviation,
        valid.NOISY.metric,
        valid.VALUES,
        valid.VALUES,
        deviation=valid.SIGMA,
        rate=valid.SIGMA,
        friction=0.1,
        force=True,
        progress=False,
        t_final=0.01,
        n_saved=2,
    ),
    "solvers.learning_flow of functions": Call(
        solvers.learning_flow,
        valid.matrix_energy,
        valid.BALANCED,
        gradient=valid.gradient,
        **valid.FLOW,
    ),
    "solvers.learning_flow up to an event": Call(
        solvers.learning_flow,
        valid.TARGET,
        valid.W,
        t_eval=numpy.array([0.01, 0.02]),
        until=margin,
    ),
    "solvers.gradient_descent by a schedule": Call(
        solvers.gradient_descent,
        valid.TARGET,
        valid.W,
        shrinking,
        n_steps=2,
        until=0.01,
    ),
    "solvers.learning_flow with offsets": Call(
        solvers.learning_flow,
        valid.TARGET,
        valid.X,
        offsets=(0.5,),
        widths=(3, 3, 3),
        **valid.FLOW,
    ),
    "solvers.balancing_flow to the end": Call(
        solvers.balancing_flow, valid.W, finish=True, **valid.FLOW
    ),
    "solvers.complete": Call(
        solvers.complete,
        KNOWN,
        HELD_OUT,
        (3, 3),
        depth=2,
        rank=1,
        solver="conjugate-gradient",
        center=False,
    ),
    "sampling.langevin of an energy": Call(
        sampling.langevin,
        None,
        MATRICES,
        energy=valid.matrix_energy,
        record=recorded,
        save_every=1,
        progress=False,
        **valid.LANGEVIN,
    ),
    "sampling.langevin of a gradient": Call(
        sampling.langevin,
        valid.gradient,
        MATRICES,
        energy=valid.matrix_energy,
        scheme="metropolis",
        **valid.LANGEVIN,
    ),
    "sampling.langevin by a schedule": Call(
        sampling.langevin,
        valid.gradient,
        MATRICES,
        **(valid.LANGEVIN | {"beta": rising}),
    ),
    "sampling.Ladder": Call(sampling.Ladder, (1.0, 2.0), 5),
    "sampling.WeightDecay": Call(lambda depth, s: sampling.WeightDecay(depth)(s), 3, valid.SIGMA),
    "sampling.DoubleWell": Call(
        lambda wells, barrier, s: sampling.DoubleWell(wells, barrier).gradient(s),
        (0.2, 2.0),
        3.0,
        valid.SIGMA,
    ),
    "sampling.SpectralExpression": Call(
        lambda formula, depth, s: sampling.SpectralExpression(formula, depth)(s),
        "s**2*N",
        3,
        valid.SIGMA,
    ),
    "sampling.EnergySum": Call(lambda x: (valid.TARGET + DECAY).gradient(x), valid.X),
    "sampling.free_energies": Call(sampling.free_energies, RESULT, 1.0),
    "sampling.LangevinResult.at": Call(RESULT.at, 1.0),
    "sampling.thermodynamics_by_depth": Call(
        sampling.thermodynamics_by_depth,
        decay_at,
        CHAINS,
        depths=[1, 2],
        betas=(1.0, 1.2),
        swap_every=2,
        save_every=2,
        rng=0,
        step_size=0.1,
        n_steps=10,
    ),
    "sampling.ensemble": Call(
        sampling.ensemble, task, {"a": [1, 2]}, n_seeds=2, seed=0, progress=False
    ),
    "sampling.DepthRootSystem": Call(
        lambda energy, slope, *sizes: sampling.DepthRootSystem(energy, slope, *sizes).positions(
            MATRICES
        ),
        valid.matrix_energy,
        valid.gradient,
        3,
        3,
        2.0,
    ),
    **calls_of(
        WELLS,
        "thermodynamics.Equilibrium.",
        log_density=(valid.VALUES[:1],),
        mean=(first,),
        variance=(first,),
    ),
    "thermodynamics.Equilibrium without entropy": Call(
        thermodynamics.Equilibrium,
        valid.energy,
        (1, 2, 1),
        beta=2.0,
        kappa=1.0,
        entropic=True,
    ),
    "thermodynamics.LeastSquaresEquilibrium": Call(
        thermodynamics.LeastSquaresEquilibrium,
        numpy.ones((1, 1)),
        (1, 2, 1),
        spectral=valid.energy,
        beta=2.0,
    ),
    "thermodynamics.thermodynamic_curves": Call(
        thermodynamics.thermodynamic_curves, valid.energy, (1, 2, 1), (1.0, 2.0)
    ),
    "thermodynamics.kramers_time": Call(thermodynamics.kramers_time, WELLS, 0.2, 2.0),
    "intrinsic.intrinsic_metric_derivative": Call(
        lambda *given: intrinsic.intrinsic_metric_derivative(*given).shape,
        valid.lift,
        valid.VALUES,
        valid.VALUES,
    ),
    "intrinsic.SmoothMap": Call(
        lambda value, slope: [
            intrinsic.SmoothMap(value).matrix(valid.VALUES),
            intrinsic.SmoothMap(value, slope).matrix(valid.VALUES),
        ],
        valid.lift,
        jacobian,
    ),
    "intrinsic.network_polynomials": Call(
        lambda widths, kind, bias: len(intrinsic.network_polynomials(widths, kind, bias)[0]),
        (2, 3, 2),
        "relu",
        True,
    ),
    "intrinsic.linear_ode with an offset": Call(
        lambda x, offset: intrinsic.linear_ode(x, offset).flow(valid.VALUES / 5),
        valid.GROUP[0],
        rising,
    ),
    "intrinsic.intrinsic_kernel": Call(
        intrinsic.intrinsic_kernel, valid.RELU, valid.LIFTED, valid.LAWS
    ),
    **calls_of(
        path_lifting,
        "intrinsic.relu.path_lifting.",
        path_features=(valid.RELU, valid.THETA, valid.INPUTS[:, :2]),
        tangent_kernel=(valid.RELU, valid.THETA, valid.INPUTS[:, :2]),
        output_gradient=(valid.RELU, valid.THETA, valid.INPUTS[:, :2], valid.OUTPUTS[:, :2]),
    ),
    "intrinsic.relu.rescaling.scales_to": Call(
        rescaling.scales_to, valid.RELU, valid.THETA, valid.LAWS
    ),
    "intrinsic.network_of_module": Call(
        lambda module: intrinsic.network_of_module(module)[1].detach().numpy(),
        torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)),
    ),
}
