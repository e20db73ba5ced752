"""Intrinsic dynamics of training: conservation laws, and when they close the equation of ``φ``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["path_lifting", "rescaling"],
    submod_attrs={
        "criteria": [
            "SmoothMap",
            "intrinsic_metric",
            "intrinsic_metric_derivative",
            "intrinsic_properties",
        ],
        "drift": ["check_conservation"],
        "law_spaces": ["polynomial_laws"],
        "laws": ["conservation_laws", "conservation_laws_of"],
        "neural_ode": ["LinearODE", "linear_ode", "residual_factors", "residual_law"],
        "polynomials": ["network_polynomials"],
        "recovery": ["intrinsic_kernel", "recover"],
        "relaxed": ["intrinsic_counterexample", "relaxed_balanced", "relaxed_offsets"],
        "relu_graph": ["network_of_graph"],
        "relu_module": ["network_of_module"],
        "relu_network": ["ReluNetwork"],
    },
)
