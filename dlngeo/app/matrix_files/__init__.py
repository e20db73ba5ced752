"""Files that hold a matrix with missing entries: a module for each format.

A file is read into the entries that it holds; it writes a completed matrix in its own format, and
draws it.
"""
