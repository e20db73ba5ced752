"""Spaces and metrics in the grammar of geomstats.

Where a method has no docstring here, that of geomstats holds (``help`` shows it). For all of them:

- Points and vectors are arrays of ``space.shape``, with batch axes before it that broadcast.
  Another shape, NaN and infinity raise a ValueError; `belongs` and `is_tangent` answer False.
- ``atol`` bounds the entries of what has to vanish, the defect of a point or the normal part of a
  vector, and the singular values beyond the rank: relative to the point or the vector where its
  largest singular value or entry exceeds one. Singular values within the rank must be larger.
- A geodesic is given by its velocity or by its end at time one: exactly one of them, else a
  ValueError. `geodesic` returns a function of times, shape=[n_times], to points,
  shape=[..., n_times, *point_shape]. `parallel_transport` goes to time one; axes that its vectors
  have more than the points count vectors along the same geodesics.
- ``on_boundary`` says what happens if a geodesic reaches the boundary, where a singular value
  vanishes: "raise" a ValueError that names the time, or "nan"; with the `DepthMetric` also
  "continue" or "cross", see `dlngeo.core.geodesics.geodesic`, and with the `BalancedMetric`
  "continue". Complete metrics have none.
- `log` raises a RuntimeError if it finds no geodesic, and so does what follows from it; a
  ValueError if no path joins the points, unless the `DepthMetric` has another ``on_boundary``.
- ``R(a, b)c = ∇_a ∇_b c - ∇_b ∇_a c - ∇_[a,b] c``. `ricci` is the operator ``⟨Ric(a), c⟩ =
  Ric(a, c)``, `ricci_tensor` its matrix with lowered index, `scalar_curvature` its trace.
  Sectional curvatures of linearly dependent vectors are zero.
- Matrices, as of a metric, are in flattened coordinates, row by row.
- `riemannian_gradient` takes the gradient of a function in the Euclidean metric.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
