"""Memory: what there is, and what is refused for want of it."""

import resource

import numpy
import pytest

from dlngeo.core.base.memory import _available_memory, check_memory, in_words
from dlngeo.core.gradient_noise.graph_metric import riemann_tensor
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.losses import Factorization
from dlngeo.manifolds import FixedRankMatrices
from dlngeo.sampling import langevin
from dlngeo.solvers import learning_flow
from dlngeo.solvers.completion import complete
from dlngeo.solvers.entries import Entries


def test_what_fits_passes_and_what_does_not_is_refused():
    there = _available_memory()
    assert 2**20 < there < 2**60
    check_memory(there // 2, "the file", "shorten it")
    with pytest.raises(ValueError, match=r"the file takes at least 8 TiB .* are free: shorten it"):
        check_memory(2**43, "the file", "shorten it")


def test_the_limit_of_the_process_counts(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20, 2**20))
    assert _available_memory() == 0  # more than that is taken already


def test_sizes_in_words():
    assert in_words(999) == "999 bytes"
    assert in_words(3 * 2**29) == "1.5 GiB"
    assert in_words(10**5000) == "more than a million TiB"


def wide(*sizes):
    """Return an array of these sizes that takes no memory."""
    return numpy.broadcast_to(1.0, sizes)


N = 10**7

LOSS, LARGE = Factorization(numpy.eye(2)), Factorization(numpy.eye(300))
ENTRIES = Entries(numpy.arange(3), numpy.arange(3), numpy.ones(3))


@pytest.mark.parametrize(
    "begin",
    [
        lambda: end_to_end((wide(1, N), wide(N, 1))),
        lambda: moment_map((wide(N, 1), wide(1, N))),
        lambda: riemann_tensor(wide(3, 2000), wide(3, 2000, 2000)),
        lambda: complete(ENTRIES, ENTRIES, (N, N), depth=2, rank=N, solver="conjugate-gradient"),
        lambda: learning_flow(LARGE, LARGE.target, depth=2, t_final=1.0, n_saved=10**6),
        lambda: langevin(
            LOSS.gradient,
            numpy.ones((3, 2, 2)) + numpy.eye(2),
            depth=2,
            beta=1.0,
            step_size=0.1,
            n_steps=2**31 - 1,
            save_every=1,
        ),
        lambda: FixedRankMatrices(400, 400).metric.metric_matrix(numpy.eye(400)),
    ],
)
def test_what_is_larger_than_what_it_is_made_of(begin):
    with pytest.raises(ValueError, match=r"takes at least .* are free: (take|apply|save) "):
        begin()
