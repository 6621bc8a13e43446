"""Tensors of every datatype, both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.features import DType, Feature
from services.kernel.errors import InvalidInput
from services.serving import tensors
from services.serving.columns import numpy_dtype

NUMBERS = [dtype for dtype in DType if dtype is not DType.STRING]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_binary_data_is_little_endian_and_comes_back(dtype: DType, shape: tuple[int, ...]) -> None:
    feature = Feature(name="x", dtype=dtype, shape=shape)
    values = np.arange(5 * feature.size).reshape(5, *shape).astype(dtype.value)
    raw = tensors.to_binary(values)
    assert raw == values.astype(values.dtype.newbyteorder("<")).tobytes()
    again = tensors.from_binary(feature, 5, memoryview(raw))
    assert again.shape == (5, *shape)
    assert np.array_equal(again.astype(dtype.value), values)
    assert tensors.to_binary(values.astype(values.dtype.newbyteorder(">"))) == raw
    for wrong in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(InvalidInput):
            tensors.from_binary(feature, 5, memoryview(wrong))


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_bytes_elements_come_back(texts: list[str]) -> None:
    feature = Feature(name="s", dtype=DType.STRING)
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    raw = tensors.to_binary(np.array(texts, dtype=object))
    assert tensors.from_binary(feature, len(texts), memoryview(raw)).tolist() == texts


@given(st.binary(max_size=60), st.integers(1, 5))
def test_any_bytes_are_elements_or_refused(raw: bytes, count: int) -> None:
    feature = Feature(name="s", dtype=DType.STRING)
    try:
        values = tensors.from_binary(feature, count, memoryview(raw))
    except InvalidInput:
        return
    assert tensors.to_binary(values) == raw


def test_an_empty_text_is_an_element() -> None:
    feature = Feature(name="s", dtype=DType.STRING)
    assert tensors.from_binary(feature, 2, memoryview(b"\0" * 8)).tolist() == ["", ""]


def test_a_bool_byte_is_0_or_1() -> None:
    feature = Feature(name="b", dtype=DType.BOOL)
    assert tensors.from_binary(feature, 2, memoryview(b"\0\1")).tolist() == [False, True]
    with pytest.raises(InvalidInput, match="BOOL"):
        tensors.from_binary(feature, 2, memoryview(b"\0\2"))


@pytest.mark.parametrize("shape", [[4], [4, 1]])
def test_a_scalar_may_have_an_axis_of_its_own(shape: list[int]) -> None:
    feature = Feature(name="a", dtype=DType.FLOAT32)
    assert tensors.checked_rows(feature, "a", shape, "FP32") == 4


@pytest.mark.parametrize(
    ("shape", "datatype"),
    [
        ([0, 4], "FP32"),
        ([-1, 4], "FP32"),
        ([2**62, 4], "FP32"),
        ([1 << 27, 4], "FP32"),
        ([10**5000, 4], "FP32"),
        ([4], "FP32"),
        ([1, 4, 1], "FP32"),
        ([], "FP32"),
        ([2] * 1_000_000, "FP32"),
        ([1, 4], "BF16"),
        ([1, 4], "fp32"),
        ([1, 4], "X" * 10_000),
    ],
)
def test_shapes_and_types_that_do_not_fit(shape: list[int], datatype: str) -> None:
    feature = Feature(name="x", dtype=DType.FLOAT32, shape=(4,))
    with pytest.raises(InvalidInput) as refused:
        tensors.checked_rows(feature, "x", shape, datatype)
    assert len(refused.value.detail) < 400


def test_fp16_is_only_binary() -> None:
    feature = Feature(name="h", dtype=DType.FLOAT16, shape=(2,))
    half = np.array([[0.5, 1.5]], dtype="<f2")
    assert tensors.from_binary(feature, 1, memoryview(half.tobytes())).tolist() == [[0.5, 1.5]]
    with pytest.raises(InvalidInput, match="only as binary"):
        tensors.from_json(feature, 1, [0.5, 1.5])


def test_every_datatype_has_its_name() -> None:
    names = {tensors.datatype_of(np.dtype(numpy_dtype(dtype))) for dtype in DType}
    assert names == {dtype.v2 for dtype in DType}


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if "int" in dtype.value])
def test_integers_in_json_are_taken_up_to_their_bounds_and_no_further(dtype: DType) -> None:
    low, high = int(np.iinfo(dtype.value).min), int(np.iinfo(dtype.value).max)
    feature = Feature(name="x", dtype=dtype, shape=(3,))
    found = tensors.from_json(feature, 1, [low, 1, high])
    assert (found.dtype, found.tolist()) == (np.dtype(dtype.value), [[low, 1, high]])
    assert tensors.from_json(feature, 1, [low, 1.0, high]).tolist() == [[low, 1, high]]
    for wrong in (low - 1, high + 1, True, 1.5, None, "1"):
        with pytest.raises(InvalidInput, match="'x'"):
            tensors.from_json(feature, 1, [low, 1, wrong])
