"""Entries of a matrix, one by one."""

from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array, index_array


class Entries(NamedTuple):
    """Entries of a matrix, one by one; one may be given several times.

    Attributes
    ----------
    rows, columns : array of int, shape=[k]
    values : array, shape=[k]
    """

    rows: Array
    columns: Array
    values: Array

    def checked(self, shape: tuple[int, int]) -> "Entries":
        """Return the entries as indices within a shape and floats; else a ValueError."""
        rows = index_array(self.rows, "rows", shape[0])
        columns = index_array(self.columns, "columns", shape[1])
        values = host_array(self.values, "the array of values")
        if not rows.shape == columns.shape == values.shape:
            raise ValueError(
                "rows, columns and values must be three lists of one length, got shapes "
                f"{rows.shape}, {columns.shape} and {values.shape}."
            )
        return Entries(rows, columns, values)

    def chosen(self, which: Array) -> "Entries":
        """Return the entries that a mask or a list of indices chooses."""
        return Entries(*[array[which] for array in self])

    @property
    def _in_order(self) -> "Entries":
        return self.chosen(numpy.lexsort((self.columns, self.rows)))

    def averaged(self) -> tuple["Entries", Array]:
        """Return each entry once, with the mean of its values, and how often it was given.

        They are in the order of rows, and of columns within a row.
        """
        rows, columns, values = self._in_order
        is_new = numpy.ones(rows.size, dtype=bool)
        is_new[1:] = (numpy.diff(rows) != 0) | (numpy.diff(columns) != 0)
        first = numpy.flatnonzero(is_new)
        n_copies = numpy.diff(numpy.append(first, rows.size))
        # Divided before they are added, so that the sum of large values is finite.
        means = numpy.add.reduceat(values / numpy.repeat(n_copies, n_copies), first)
        return Entries(rows[first], columns[first], means), n_copies

    @property
    def variation(self) -> float:
        """Sum of squares of what values differ from the mean of their entry."""
        averages, n_copies = self.averaged()
        return float(((self._in_order.values - averages.values.repeat(n_copies)) ** 2).sum())
