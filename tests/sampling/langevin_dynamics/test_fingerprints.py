"""What is told of functions: code without comments, and only of one version of Python."""

import sys

import pytest

from dlngeo.sampling.langevin_dynamics.fingerprints import code_of, is_other_code

SOURCES = {
    "itself": ("def f(x):\n    return 2 * x", False),
    "a comment": ("def f(x):\n\n    # twice\n    return 2 * x", False),
    "a docstring": ("def f(x):\n    'Twice.'\n    return 2 * x", False),
    "another constant": ("def f(x):\n    return 3 * x", True),
    "another operation": ("def f(x):\n    return 2 + x", True),
    "another name": ("def f(x):\n    return 2 * abs(x)", True),
    "a function within": ("def f(x):\n    return (lambda y: 2 * y)(x)", True),
}


def compiled(source):
    space: dict = {}
    exec(source, space)
    return space["f"]


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_another_function(name):
    source, is_other = SOURCES[name]
    own = code_of((compiled(SOURCES["itself"][0]), None))
    assert is_other_code(code_of((compiled(source), None)), own) == is_other


def test_what_a_function_refers_to_counts():
    def scaled(factor):
        return lambda x: factor * x

    assert is_other_code(code_of((scaled(2.0),)), code_of((scaled(3.0),)))
    assert not is_other_code(code_of((scaled(2.0),)), code_of((scaled(2.0),)))


def test_other_versions_of_python_cannot_tell(monkeypatch):
    own = code_of((compiled(SOURCES["itself"][0]),))
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    other = code_of((compiled(SOURCES["another name"][0]),))
    assert not is_other_code(other, own)
