"""Samplers of the laws of deep linear networks at a temperature."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "balanced_system": ["BalancedSystem"],
        "diagnostics": ["to_inference_data"],
        "driver": ["LangevinResult", "langevin"],
        "ensembles": ["Ensemble", "Run", "ensemble"],
        "root_systems": ["DepthRootSystem", "ObservableSystem"],
    },
)
