"""Pure functions of arrays: no geomstats, no state, no printing."""
