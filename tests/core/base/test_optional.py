"""Compiled loops are taken in when they are asked for, and only where Numba is."""

import importlib.util

from dlngeo.core.base.optional import compiled_loop


def test_a_loop_is_that_of_its_module(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    compiled_loop.cache_clear()
    assert compiled_loop("math", "hypot") is __import__("math").hypot
    compiled_loop.cache_clear()


def test_without_numba_there_is_none(monkeypatch):
    """And the module is not even imported."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    compiled_loop.cache_clear()
    assert compiled_loop("a module that does not exist", "loop") is None
    compiled_loop.cache_clear()
