"""Conservation laws of gradient flows: counts, laws, drift, and what they determine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
