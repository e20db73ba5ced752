"""Intrinsic dynamics: what of training can be told from the function and the start alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "neural_ode": ["LinearODE", "linear_ode", "residual_factors", "residual_law"],
        "relaxed": ["intrinsic_counterexample", "relaxed_balanced", "relaxed_offsets"],
    },
)
