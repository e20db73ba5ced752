"""One thread for each worker: the matrices are small, and workers share the cores.

What JAX compiles is called once or twice: to optimise it takes longer than it gains. Its arrays are
of double precision.
"""

import os
import signal

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_ENABLE_X64", "1")

# Background jobs of a shell ignore what interrupts, and so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

import dlngeo  # noqa: E402, F401, before any test imports geomstats, which NumPy 2.4 needs
