"""Open Inference Protocol V2 tensors <-> arrays: JSON data, flat or nested, and raw binary data.

Binary data is little-endian and row-major; BOOL is one byte an element; a BYTES element is its length as uint32 and
then its bytes. FP16 exists only in binary; BF16 is not taken, since no feature has it. Source: Open Inference Protocol,
"Tensor Data" and the binary tensor data extension.
"""

import array
import json
import math
import struct
from functools import cache, lru_cache
from typing import Any

import msgspec
import numpy as np

from schemas.features import DType, Feature
from services.kernel.errors import InvalidInput
from services.serving.columns import numpy_dtype
from services.serving.inputs import load_leniently, tensor
from services.serving.runtime import Array

MAX_ELEMENTS = 1 << 28
_MOST_ROWS = 1 << 16  # more are looked at more closely

_V2_NAMES = {dtype.v2: dtype for dtype in DType}
_FLOATS = msgspec.json.Decoder(list[float]).decode
_HEAD_BYTES = 64 << 10
_first_value = json.JSONDecoder().raw_decode
_ARRAY_CODES = {DType.FLOAT32: "f", DType.FLOAT64: "d"}


class Expected:
    """What a request for one feature looks like when it is exactly right, prepared once."""

    __slots__ = ("_code", "_kind", "_shape", "_size", "_tail", "datatype")

    def __init__(self, feature: Feature) -> None:
        self.datatype = feature.dtype.v2
        self._tail = list(feature.shape or (1,))
        """The shape without the batch axis."""
        self._shape = feature.shape
        self._size = feature.size
        self._kind = numpy_dtype(feature.dtype).newbyteorder("<")
        self._code = _ARRAY_CODES.get(feature.dtype)

    def rows(self, shape: list[int], datatype: str) -> int:
        """The number of rows of a tensor, 0 for one that has to be looked at more closely."""
        if datatype != self.datatype or not shape or shape[1:] != self._tail or not 0 < shape[0] < _MOST_ROWS:
            return 0
        return shape[0]

    def from_json(self, rows: int, data: msgspec.Raw) -> Array | None:
        """The array of flat floats, None for anything else."""
        if self._code is None:
            return None
        try:
            values = _FLOATS(data)
        except (msgspec.DecodeError, RecursionError):
            return None
        if len(values) != rows * self._size:
            return None
        return np.frombuffer(array.array(self._code, values), dtype=self._kind).reshape(rows, *self._shape)

    def from_binary(self, rows: int, raw: memoryview) -> Array | None:
        """The array of floats of the right number, None for anything else."""
        if self._code is None or len(raw) != rows * self._size * self._kind.itemsize:
            return None
        return np.frombuffer(raw, dtype=self._kind).reshape(rows, *self._shape)


@lru_cache(4096)
def _expected(feature: Feature) -> Expected:
    return Expected(feature)


def checked_rows(feature: Feature, name: str, shape: list[int], datatype: str, *, any_type: bool = False) -> int:
    """The number of rows of an input tensor. Raises `InvalidInput` when its shape or type is not the feature's;
    `any_type`: when its type is none of the protocol's."""
    if rows := _expected(feature).rows(shape, datatype):
        return rows
    if datatype == "BF16":
        raise InvalidInput(f"input {name!r}: BF16 is not taken by this server; this model takes {feature.dtype.v2}")
    if datatype not in _V2_NAMES:
        raise InvalidInput(f"input {name!r}: {datatype[:50]!r} is not a datatype of the protocol")
    if _V2_NAMES[datatype] is not feature.dtype and not any_type:
        raise InvalidInput(f"input {name!r} is {datatype}; this model takes {feature.dtype.v2}")
    # The rank first: a product over a million sizes would take minutes.
    if tuple(shape[1:]) != feature.shape and not (feature.shape == () and shape[1:] == [1]):
        wanted = [-1, *(feature.shape or (1,))]
        raise InvalidInput(f"input {name!r} has the shape {_shown(shape)}; this model takes {wanted}")
    if not shape or not 1 <= shape[0] <= MAX_ELEMENTS // feature.size:
        raise InvalidInput(f"input {name!r}: the shape {_shown(shape)} is empty, negative or too large")
    return shape[0]


def _shown(shape: list[int]) -> str:
    """A shape in an error: a client may send a number of a million digits."""
    sizes = [str(size) if abs(size) < 1 << 64 else "a huge number" for size in shape[:8]]
    return f"[{', '.join(sizes)}{', ...' if len(shape) > 8 else ''}]"


def from_json(feature: Feature, rows: int, data: object, *, mend: bool = False) -> Array:
    """The array `[rows, *shape]` of a tensor's JSON data (raw JSON or parsed). Raises `InvalidInput`.

    `mend`: elements of another kind are converted where that loses nothing.
    """
    if feature.dtype is DType.FLOAT16:
        raise InvalidInput(f"input {feature.name!r} is FP16, which the protocol has only as binary data")
    if isinstance(data, msgspec.Raw):
        plain = _expected(feature).from_json(rows, data)
        if plain is not None:
            return plain
        data = load_leniently(bytes(data))  # nested, or wrong: the slow reader knows
    if feature.shape == () and isinstance(data, list) and data and isinstance(data[0], list):
        data = [value for row in data for value in (row if isinstance(row, list) else [row])]
    return tensor(feature, data, rows, mend=mend)


def from_binary(feature: Feature, rows: int, raw: memoryview) -> Array:
    """The array `[rows, *shape]` of a tensor's binary data. Raises `InvalidInput`."""
    shape = (rows, *feature.shape)
    if feature.dtype is DType.STRING:
        values = np.empty(rows * feature.size, dtype=object)
        values[:] = _strings(feature.name, raw, rows * feature.size)
        return values.reshape(shape)
    kind = numpy_dtype(feature.dtype).newbyteorder("<")
    if len(raw) != math.prod(shape) * kind.itemsize:
        wanted = math.prod(shape) * kind.itemsize
        raise InvalidInput(f"input {feature.name!r} has {len(raw)} bytes; its shape needs {wanted}")
    if feature.dtype is DType.BOOL and raw.nbytes and np.frombuffer(raw, np.uint8).max() > 1:
        raise InvalidInput(f"input {feature.name!r}: a BOOL byte is 0 or 1")
    return np.frombuffer(raw, dtype=kind).reshape(shape)


def first_of_json(data: object) -> object:
    """The first element of a tensor's JSON data, raw or parsed; None when there is none to be found."""
    if isinstance(data, msgspec.Raw):
        start = bytes(memoryview(data)[:_HEAD_BYTES]).decode(errors="replace").lstrip("[ \t\r\n")
        try:
            value: object = _first_value(start)[0]
        except ValueError:
            return None
        return value
    while isinstance(data, list) and data:
        data = data[0]
    return data


def first_of_binary(datatype: str, raw: memoryview) -> object:
    """The first element of binary data; None when there is none to be found."""
    dtype = _V2_NAMES.get(datatype)
    if dtype is None:
        return None
    if dtype is DType.STRING:
        length = int.from_bytes(raw[:4], "little")
        return bytes(raw[4 : 4 + min(length, _HEAD_BYTES)]).decode(errors="replace")
    kind = numpy_dtype(dtype).newbyteorder("<")
    first: object = np.frombuffer(raw, dtype=kind, count=1)[0].item() if len(raw) >= kind.itemsize else None
    return first


def to_binary(output: Array) -> bytes:
    """The binary data of an output."""
    if output.dtype.kind in "OUS":
        encoded = [str(value).encode() for value in output.reshape(-1).tolist()]
        return b"".join(struct.pack("<I", len(item)) + item for item in encoded)
    return np.ascontiguousarray(output, dtype=output.dtype.newbyteorder("<")).tobytes()


def of_datatype(feature: Feature, datatype: str) -> Feature:
    """`feature` with the element type that the protocol calls `datatype`."""
    return feature.model_copy(update={"dtype": _V2_NAMES[datatype], "nullable": False, "filler": None})


def converted(feature: Feature, values: Array) -> Array:
    """`values` of another type as `feature` takes them. Raises `InvalidInput` where that would lose something.

    Among floats the value is rounded to the feature's precision, as a JSON number is.
    """
    kind = numpy_dtype(feature.dtype)
    if feature.dtype is not DType.STRING and values.dtype.kind in "biuf":
        with np.errstate(all="ignore"):
            cast = values.astype(kind)
            narrowed = feature.dtype.is_float and values.dtype.kind == "f"
            if narrowed:
                same = np.isinf(cast) == np.isinf(values)
            else:  # the sign, since 2**63 as int64 and back is 2**63 again
                same = (cast.astype(values.dtype) == values) & ((cast < 0) == (values < 0)) & np.isfinite(values)
        if same.all():
            return cast
        problem = f"holds values of {datatype_of(values.dtype)} that {feature.dtype.v2} can't hold"
        raise InvalidInput(f"input {feature.name!r} {problem}", features={feature.name: problem})
    return tensor(feature, values.reshape(-1).tolist(), len(values), mend=True)


def filled(feature: Feature, rows: int) -> Array:
    """What stands for an input that a request leaves out."""
    return np.full((rows, *feature.shape), feature.missing, dtype=numpy_dtype(feature.dtype))


@cache
def datatype_of(dtype: "np.dtype[Any]") -> str:
    """The protocol's name of an array's element type."""
    return DType.STRING.v2 if dtype.kind in "OUS" else DType(dtype.name).v2


def _strings(name: str, raw: memoryview, count: int) -> list[str]:
    values: list[str] = []
    at = 0
    while at < len(raw) and len(values) < count:
        if at + 4 > len(raw):
            break
        length = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if at + length > len(raw):
            break
        try:
            values.append(bytes(raw[at : at + length]).decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(f"input {name!r}: a BYTES element is not UTF-8") from error
        at += length
    if len(values) != count or at != len(raw):
        raise InvalidInput(f"input {name!r}: the bytes do not hold {count} BYTES elements")
    return values
