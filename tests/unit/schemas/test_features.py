"""Signatures: what a model takes, what stands for a missing value."""

import math

import pytest
from pydantic import ValidationError

from schemas.features import DType, Feature, Output, OutputRole, Signature

PROBABILITIES = Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES)


@pytest.mark.parametrize("dtype", list(DType))
def test_a_nullable_feature_has_something_that_stands_for_missing(dtype: DType) -> None:
    if dtype.is_float:
        assert math.isnan(float(Feature(name="x", dtype=dtype, nullable=True).missing))
    elif dtype is DType.STRING:
        assert Feature(name="x", dtype=dtype, nullable=True).missing == ""
        assert Feature(name="x", dtype=dtype, nullable=True, filler="?").missing == "?"
    else:
        with pytest.raises(ValidationError, match="needs a filler"):
            Feature(name="x", dtype=dtype, nullable=True)
        filler = False if dtype is DType.BOOL else 0
        assert Feature(name="x", dtype=dtype, nullable=True, filler=filler).missing == filler


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (DType.BOOL, "BOOL"),
        (DType.INT8, "INT8"),
        (DType.UINT64, "UINT64"),
        (DType.FLOAT16, "FP16"),
        (DType.FLOAT64, "FP64"),
        (DType.STRING, "BYTES"),
    ],
)
def test_names_of_the_open_inference_protocol(dtype: DType, name: str) -> None:
    assert dtype.v2 == name


@pytest.mark.parametrize("shape", [(0,), (-1, 3), (2, 0)])
def test_a_shape_has_known_sizes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="batch axis"):
        Feature(name="x", dtype=DType.FLOAT32, shape=shape)


def test_size_counts_the_elements_of_a_row() -> None:
    assert Feature(name="x", dtype=DType.FLOAT32).size == 1
    assert Feature(name="x", dtype=DType.FLOAT32, shape=(2, 3, 4)).size == 24


def test_names_are_unique() -> None:
    twice = (Feature(name="x", dtype=DType.FLOAT32), Feature(name="x", dtype=DType.INT64))
    with pytest.raises(ValidationError, match="input names appear twice: x"):
        Signature(inputs=twice, outputs=(PROBABILITIES,))


def test_a_signature_tells_flat_rows_from_tensors() -> None:
    scalar, vector = Feature(name="x", dtype=DType.FLOAT32), Feature(name="v", dtype=DType.FLOAT32, shape=(3,))
    assert Signature(inputs=(scalar,), outputs=(PROBABILITIES,)).is_tabular
    assert not Signature(inputs=(scalar, vector), outputs=(PROBABILITIES,)).is_tabular


def test_outputs_are_found_by_their_role() -> None:
    signature = Signature(inputs=(Feature(name="x", dtype=DType.FLOAT32),), outputs=(PROBABILITIES,))
    assert signature.output(OutputRole.PROBABILITIES) is signature.outputs[0]
    assert signature.output(OutputRole.LABEL) is None


def test_the_digest_follows_the_content() -> None:
    one = Signature(inputs=(Feature(name="x", dtype=DType.FLOAT32),), outputs=(PROBABILITIES,))
    again = Signature.model_validate_json(one.model_dump_json())
    other = Signature(inputs=(Feature(name="x", dtype=DType.FLOAT64),), outputs=(PROBABILITIES,))
    assert one.digest() == again.digest() != other.digest()


@pytest.mark.parametrize(
    ("dtype", "filler"),
    [
        (DType.STRING, ""),
        (DType.BOOL, False),
        (DType.INT8, -128),
        (DType.UINT8, 255),
        (DType.UINT64, 2**64 - 1),
        (DType.FLOAT16, -1),
        (DType.FLOAT64, 0.5),
    ],
)
def test_a_filler_is_a_value_of_its_feature(dtype: DType, filler: str | int | float | bool) -> None:
    assert Feature(name="x", dtype=dtype, nullable=True, filler=filler).missing == filler


@pytest.mark.parametrize(
    ("dtype", "filler"),
    [
        (DType.STRING, 0),
        (DType.BOOL, 0),
        (DType.BOOL, "no"),
        (DType.INT8, 128),
        (DType.UINT8, -1),
        (DType.INT64, 2**63),
        (DType.INT32, 0.5),
        (DType.INT32, True),
        (DType.FLOAT32, "nan"),
        (DType.FLOAT32, False),
    ],
)
def test_a_filler_that_is_none_is_refused_by_name(dtype: DType, filler: str | int | float | bool) -> None:
    with pytest.raises(ValidationError, match="feature 'x': the filler"):
        Feature(name="x", dtype=dtype, filler=filler)
