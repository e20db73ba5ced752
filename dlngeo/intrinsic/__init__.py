"""Intrinsic dynamics of training: what the observable knows of the flow of the parameters."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["path_lifting", "rescaling"],
    submod_attrs={
        "recovery": ["intrinsic_kernel", "recover"],
        "relu_graph": ["network_of_graph"],
        "relu_module": ["network_of_module"],
        "relu_network": ["ReluNetwork"],
    },
)
