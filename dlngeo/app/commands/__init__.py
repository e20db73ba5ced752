"""The commands of ``dlngeo``, a module for each, which `dlngeo.app.cli` loads by its name.

A command is a function ``run`` of the options that `dlngeo.app.options` reads.
"""
