"""The commands of ``dlngeo``, a module for each."""
