"""For users of PyTorch, modules and optimisers; needs the extra ``torch``."""

import importlib.util

import lazy_loader

if importlib.util.find_spec("torch") is None:
    raise ImportError(
        "dlngeo.torch needs PyTorch, which is not installed: pip install 'dlngeo[torch]'."
    )

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
