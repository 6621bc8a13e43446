"""How a baseline's features lie in one flat vector of counts, and how rows of the log become positions in it.

The vector holds first the numbers, each with the same stride (grid cells, one above the grid, missing, padding), then
the categories and booleans (each category, other, missing). One `numpy.bincount` over a block of rows then counts every
feature at once, and windows merge by adding vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.baseline import Baseline, FeatureBaseline, Kind, as_numbers, bin_of_cell, summarise
from services.monitor.event_times import times_us
from services.monitor.grid_search import GridSearch

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class UncountableRows(ValueError):
    """A column cannot be read as the feature that the baseline describes."""


@dataclass(frozen=True)
class Block:
    """Rows of the log, placed. `cells` (features, rows) are positions in the flat vector.

    `times_us` (rows,) are event times. The sparse rest are the values outside the grids, by row: the number's place,
    how far below the grid's first edge, how far above its last (one of them 0; infinite values are left out).
    """

    cells: Ints
    times_us: Ints
    outside_row: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    outside_number: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    outside_below: Floats = field(default_factory=lambda: np.empty(0))
    outside_above: Floats = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.times_us)


class CountLayout:
    """The flat vector of one baseline. Immutable after construction; safe to share between threads."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self.digest = baseline.digest
        numbers = [feature for feature in baseline.features if feature.kind is Kind.NUMBER]
        others = [feature for feature in baseline.features if feature.kind is not Kind.NUMBER]
        self.features: tuple[FeatureBaseline, ...] = (*numbers, *others)
        self.number_count = len(numbers)
        self.stride = max((len(feature.grid) + 2 for feature in numbers), default=0)
        widths = [self.stride] * len(numbers) + [len(feature.counts) for feature in others]
        starts = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        self.starts: Ints = starts[:-1]
        self.cell_count = int(starts[-1])
        self._place_bins()
        self._place_grids(numbers)
        self._searches = [GridSearch(_grid(feature)) for feature in numbers]
        self._categories = [pa.array(feature.categories or (), pa.utf8()) for feature in others]

    def _place_bins(self) -> None:
        bin_of, baseline_cells = np.empty(self.cell_count, np.int64), np.zeros(self.cell_count, np.int64)
        bin_starts = [0]
        for number, feature in enumerate(self.features):
            start, first_bin, bins = int(self.starts[number]), bin_starts[-1], len(feature.counts)
            if number < self.number_count:
                inner = bin_of_cell(feature.grid, feature.edges, feature.values)
                block = np.full(self.stride, bins - 1)
                block[: len(inner)] = inner
                counts = np.zeros(self.stride, np.int64)
                counts[: len(feature.grid_counts)] = feature.grid_counts
            else:
                block, counts = np.arange(bins), np.asarray(feature.counts)
            bin_of[start : start + len(block)] = block + first_bin
            baseline_cells[start : start + len(block)] = counts
            bin_starts.append(first_bin + bins)
        self.bin_starts: Ints = np.asarray(bin_starts[:-1], np.int64)
        self.bin_count = bin_starts[-1]
        self._by_bin = np.argsort(bin_of, kind="stable")
        self._bin_heads = np.searchsorted(bin_of[self._by_bin], np.arange(self.bin_count))
        self.baseline_cells: Ints = baseline_cells
        self.baseline_bins: Ints = self.bins(baseline_cells)
        self.baseline_rows: Ints = np.array([feature.rows for feature in self.features], np.int64)

    def _place_grids(self, numbers: Sequence[FeatureBaseline]) -> None:
        self.grid_widths: Floats = np.zeros((len(numbers), max(self.stride - 2, 0)))
        for number, feature in enumerate(numbers):
            widths = np.diff(np.asarray(feature.grid))
            self.grid_widths[number, : len(widths)] = widths
        self.stds: Floats = np.array([feature.std or 0.0 for feature in numbers])
        self._missing_cells = np.array([len(feature.grid) + 1 for feature in numbers], np.int64)

    def bins(self, counts: Ints) -> Ints:
        """(..., cells) -> (..., bins): the coarse bins that the divergences compare."""
        if not self.bin_count:
            return counts
        return np.add.reduceat(counts[..., self._by_bin], self._bin_heads, axis=-1)

    def grids(self, counts: Ints) -> Ints:
        """(..., cells) -> (..., numbers, stride): the numbers' grid cells, without their missing values."""
        shape = (*counts.shape[:-1], self.number_count, self.stride)
        grid = counts[..., : self.number_count * self.stride].reshape(shape).copy()
        grid[..., np.arange(self.number_count), self._missing_cells] = 0
        return grid

    def place(self, batches: Sequence[pa.RecordBatch]) -> Block:
        """Find every row's cell in every feature. The batches follow each other; columns may be absent (missing).

        Raises `UncountableRows` naming a column of the wrong type. O(rows x features x log(grid)).
        """
        rows = sum(batch.num_rows for batch in batches)
        cells = np.empty((len(self.features), rows), np.int64)
        outside: list[tuple[Ints, Ints, Floats, Floats]] = []
        for number, feature in enumerate(self.features):
            if number < self.number_count:
                values = self._values(batches, feature)
                cells[number] = self._searches[number](values)
                outside.append(self._outside(number, feature, values, cells[number]))
            else:
                categories = self._categories[number - self.number_count]
                cells[number] = np.concatenate([self._codes(batch, feature, categories) for batch in batches])
            cells[number] += self.starts[number]
        times = np.concatenate([times_us(batch) for batch in batches])
        parts = [np.concatenate(part) for part in zip(*outside, strict=True)] or [np.empty(0)] * 4
        order = np.argsort(parts[0], kind="stable")
        row, at, below, above = (part[order] for part in parts)
        return Block(cells, times, row.astype(np.int64), at.astype(np.int64), below, above)

    def _values(self, batches: Sequence[pa.RecordBatch], feature: FeatureBaseline) -> npt.NDArray[np.float32] | Floats:
        """The feature's numbers in all batches. Runs of batches of one type are joined before they are read."""
        columns = []
        for batch in batches:
            index = batch.schema.get_field_index(feature.column)
            columns.append(batch.column(index) if index >= 0 else pa.nulls(batch.num_rows, pa.float32()))
        if all(column.type == columns[0].type for column in columns):
            columns = [pa.concat_arrays(columns)]
        return np.concatenate([self._numbers(column, feature) for column in columns])

    def _numbers(self, column: pa.Array, feature: FeatureBaseline) -> npt.NDArray[np.float32] | Floats:
        if pa.types.is_float32(column.type) and column.null_count == len(column):
            return np.full(len(column), np.nan, _grid(feature).dtype)
        filler = None if feature.missing_value is None else float(feature.missing_value)
        try:
            if feature.element is None and feature.summary is None:
                return as_numbers(column, feature.dtype, filler)
            if pa.types.is_struct(column.type):
                return as_numbers(column.field(feature.summary or ""), feature.dtype)
            matrix = as_numbers(column, feature.dtype, filler).reshape(len(column), -1)
            if feature.summary is not None:
                return summarise(matrix, feature.summary)
            return np.ascontiguousarray(matrix[:, feature.element])
        except (pa.ArrowException, ValueError, TypeError, IndexError, KeyError) as error:
            raise UncountableRows(
                f"column {feature.column!r} ({column.type}) is no {feature.dtype}: {error}"
            ) from error

    @staticmethod
    def _outside(
        number: int, feature: FeatureBaseline, values: npt.NDArray[np.float32] | Floats, cells: Ints
    ) -> tuple[Ints, Ints, Floats, Floats]:
        grid = feature.grid
        if not grid:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0)
        row = np.flatnonzero((cells == 0) | (cells == len(grid)))
        strayed = values[row].astype(np.float64)
        below, above = np.maximum(grid[0] - strayed, 0.0), np.maximum(strayed - grid[-1], 0.0)
        kept = np.isfinite(strayed) & ((below > 0) | (above > 0))
        return row[kept], np.full(int(kept.sum()), number, np.int64), below[kept], above[kept]

    @staticmethod
    def _codes(batch: pa.RecordBatch, feature: FeatureBaseline, categories: pa.Array) -> Ints:
        """Cells of a column of categories or booleans, by its dictionary: no string is decoded row by row."""
        missing = len(feature.counts) - 1
        index = batch.schema.get_field_index(feature.column)
        if index < 0:
            return np.full(batch.num_rows, missing, np.int64)
        column = batch.column(index)
        if feature.kind is Kind.BOOLEAN:
            filler = None if feature.missing_value is None else float(feature.missing_value)
            truth = as_numbers(column, feature.dtype, filler)
            return np.where(truth == 1, 1, np.where(truth == 0, 0, missing)).astype(np.int64)
        try:
            coded = column if pa.types.is_dictionary(column.type) else column.cast(pa.utf8()).dictionary_encode()
            words = coded.dictionary.cast(pa.utf8())
        except pa.ArrowException as error:
            raise UncountableRows(f"column {feature.column!r} ({column.type}) is no string: {error}") from error
        places = pc.fill_null(pc.index_in(words, value_set=categories), missing - 1).to_numpy(zero_copy_only=False)
        places = places.astype(np.int64)
        if feature.missing_value is not None:
            places[pc.equal(words, str(feature.missing_value)).to_numpy(zero_copy_only=False)] = missing
        places[np.flatnonzero(words.is_null().to_numpy(zero_copy_only=False))] = missing
        if coded.indices.null_count:
            codes = pc.fill_null(coded.indices.cast(pa.int64()), len(places)).to_numpy(zero_copy_only=False)
        else:
            codes = coded.indices.to_numpy(zero_copy_only=False)
        return np.asarray(np.append(places, missing)[codes], np.int64)


def _grid(feature: FeatureBaseline) -> npt.NDArray[np.float32] | Floats:
    """The grid in the precision in which the feature's values are compared."""
    return np.asarray(feature.grid, as_numbers([], feature.dtype).dtype)
