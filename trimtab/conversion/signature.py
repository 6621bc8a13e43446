"""The signature of a model, read from its sample: dtypes, ranges, categories, and what may be missing."""

from collections.abc import Collection

import numpy as np

from schemas.features import DType, Feature, Output, OutputRole, Signature
from trimtab.conversion.sample import Column, Sample

MAX_CATEGORIES = 100
"""A string feature with more different values in the sample is free text to the signature."""

ROWS_A_CATEGORY = 2
"""Fewer rows than this for each different value say nothing about which values there are."""


def infer_signature(
    sample: Sample, used: Collection[str], role: OutputRole, classes: tuple[str, ...] | None, filler: str
) -> Signature:
    """The signature of a graph that takes the features `used`, in the sample's order.

    A feature is nullable where the sample lacks a value of it; `filler` stands for a missing string.
    """
    inputs = tuple(_feature(column, filler) for column in sample.columns if column.name in used)
    name = role.value
    while any(feature.name == name for feature in inputs):
        name = f"output_{name}"
    dtype = DType.STRING if role is OutputRole.LABEL else DType.FLOAT32
    shape = (len(classes),) if role is OutputRole.PROBABILITIES and classes is not None else ()
    return Signature(inputs=inputs, outputs=(Output(name=name, dtype=dtype, shape=shape, role=role),), classes=classes)


def _feature(column: Column, filler: str) -> Feature:
    nullable = bool(column.missing.any())
    if column.dtype is DType.STRING:
        return Feature(
            name=column.name,
            dtype=column.dtype,
            nullable=nullable,
            filler=filler if nullable and filler else None,
            categories=_categories(column),
        )
    low, high = (None, None) if column.shape or column.dtype is DType.BOOL else _range(column)
    return Feature(
        name=column.name, dtype=column.dtype, shape=column.shape, nullable=nullable, minimum=low, maximum=high
    )


def _categories(column: Column) -> tuple[str, ...] | None:
    present = [str(value) for value in column.values if value is not None]
    different = sorted(set(present))
    if len(different) > MAX_CATEGORIES or len(present) < ROWS_A_CATEGORY * len(different):
        return None
    return tuple(different) or None


def _range(column: Column) -> tuple[float | None, float | None]:
    present = column.values[~column.missing]
    if not len(present):
        return None, None
    return float(np.min(present)), float(np.max(present))
