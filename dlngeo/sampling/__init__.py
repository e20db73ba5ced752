"""Samplers of the laws of thermodynamics; names are loaded when they are first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "balanced_system": ["BalancedSystem"],
        "root_systems": ["DepthRootSystem", "ObservableSystem"],
    },
)
