"""The Riemannian Langevin equation: kernels that step, and the run that knows them by a protocol.

- `equation`: energy, network and temperatures; `faces`: what initial states are.
- `schemes`: the protocol of a kernel, and the table of schemes. A new scheme is a file with a
  kernel of matrices, on `matrix_steps`, and a line in the table; by `hidden_frames` it serves
  factors.
- `euler_maruyama`, `second_order`, `metropolis`: the schemes. `brownian` holds the coefficients of
  the equation in depth-root coordinates, `compiled` the fast loop for small square matrices.
- `infinite_depth`: the kernel in logarithmic coordinates, and of what there is a law.
- `temperatures`: schedules and ladders, as kernels over that of the scheme.
- `states`, `chains`, `checkpoint`, `run`: chains on their way, kept in files, and their result.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
