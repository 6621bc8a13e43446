"""An inference request: its JSON part, the raw tensors behind it, and the columns of a batch that they become.

Two decoders, one result, as in `services.serving.inputs`: the fast one leaves each tensor's data as raw JSON, the slow
one reads what the fast one refuses (NaN, which is not JSON) or says what is wrong.
"""

from typing import Any

import msgspec

from schemas.features import Feature
from services.kernel.errors import InvalidInput
from services.serving import tensors
from services.serving.columns import Columns
from services.serving.flags import joined
from services.serving.inputs import Malformed, check_texts, load_leniently
from services.serving.runtime import Array
from services.serving.served import ServedVersion

_ABSENT = msgspec.Raw(b"")


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class _RawTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _ABSENT
    parameters: dict[str, Any] | None = None


class _WantedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class FastRequest(msgspec.Struct, gc=False):
    """What the fast decoder reads."""

    inputs: list[_RawTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_WantedOutput] | None = None


class SlowRequest(msgspec.Struct):
    """The same of parsed JSON."""

    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_WantedOutput] | None = None


InferRequest = FastRequest | SlowRequest

_decode = msgspec.json.Decoder(FastRequest).decode


def read(body: bytes, header_length: bytes | None) -> tuple[InferRequest, memoryview]:
    """The request's JSON part and its binary part; `header_length` is the header `Inference-Header-Content-Length`.

    Raises `Malformed` and `InvalidInput`.
    """
    binary = memoryview(b"")
    if header_length is not None:
        length = int(header_length) if header_length.isdigit() and len(header_length) < 20 else -1
        if not 0 < length <= len(body):
            raise InvalidInput("Inference-Header-Content-Length is not a length within the body")
        binary = memoryview(body)[length:]
        body = body[:length]
    try:
        return _decode(body), binary
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        document = load_leniently(body)
        try:
            return msgspec.convert(document, SlowRequest), binary
        except msgspec.ValidationError as error:
            raise Malformed(f"not an inference request: {error}") from error
        except RecursionError as error:
            raise Malformed("the JSON is nested too deeply") from refused or error


def columns_of(served: ServedVersion, request: InferRequest, binary: memoryview, string_bytes: int) -> Columns:
    """The rows of `request` as `served` takes them. Raises `InvalidInput`."""
    features, reader = served.features, served.reader
    arrays: dict[str, Array] = {}
    flags: list[str] = []
    rows = 0
    for given in request.inputs:
        raw, binary = _binary_of(given, binary)
        feature = features.get(given.name)
        if feature is None:
            flags.append(reader.left_out(given.name))
            continue
        if given.name in arrays:
            raise InvalidInput(f"input {given.name!r} appears twice")
        mend = reader.clauses.type == "flag"
        its_rows = tensors.checked_rows(feature, given.name, given.shape, given.datatype, any_type=mend)
        if rows and its_rows != rows:
            raise InvalidInput(f"input {given.name!r} has {its_rows} rows, the inputs before it {rows}")
        rows = its_rows
        try:
            arrays[given.name] = _array(feature, rows, given, raw)
        except InvalidInput:
            if not mend:
                raise
            arrays[given.name] = _mended(feature, rows, given, raw)
            flags.append(reader.converted(feature))
    if len(binary):
        raise InvalidInput(f"{len(binary)} bytes of binary data belong to no input")
    if not rows:
        raise InvalidInput("inputs is empty: send at least one tensor")
    for _, feature in reader.texts:
        if feature.name in arrays:
            check_texts(feature, arrays[feature.name].flat, string_bytes)
    if len(arrays) == len(features):
        ordered = [arrays[name] for name in features]
    else:
        flags += [mark for name, f in features.items() if name not in arrays and (mark := reader.stand_in(f))]
        ordered = [arrays[n] if n in arrays else tensors.filled(feature, rows) for n, feature in features.items()]
    columns = served.layout.from_arrays(ordered, rows)
    if flags:
        columns.flags = [joined(flags)] * rows
    return columns


def _binary_of(given: _Tensor | _RawTensor, binary: memoryview) -> tuple[memoryview | None, memoryview]:
    """The tensor's part of `binary`, None when its data are JSON; and the rest. Raises `InvalidInput`."""
    size = (given.parameters or {}).get("binary_data_size")
    absent = given.data is None or given.data is _ABSENT
    if (size is None) == absent:
        raise InvalidInput(f"input {given.name[:100]!r} must have exactly one of data and binary_data_size")
    if size is None:
        return None, binary
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise InvalidInput(f"input {given.name[:100]!r}: binary_data_size does not fit the body")
    return binary[:size], binary[size:]


def _array(feature: Feature, rows: int, given: _Tensor | _RawTensor, raw: memoryview | None) -> Array:
    if given.datatype != feature.dtype.v2:
        raise InvalidInput(f"input {given.name!r} is {given.datatype}; this model takes {feature.dtype.v2}")
    if raw is None:
        return tensors.from_json(feature, rows, given.data)
    return tensors.from_binary(feature, rows, raw)


def _mended(feature: Feature, rows: int, given: _Tensor | _RawTensor, raw: memoryview | None) -> Array:
    """The array of a tensor of another type, or with elements of another kind. Raises `InvalidInput`."""
    if given.datatype == feature.dtype.v2:
        if raw is not None:
            return tensors.from_binary(feature, rows, raw)  # raises again: wrong bytes are of no type
        return tensors.from_json(feature, rows, given.data, mend=True)
    other = tensors.of_datatype(feature, given.datatype)
    if raw is not None:
        return tensors.converted(feature, tensors.from_binary(other, rows, raw))
    return tensors.converted(feature, tensors.from_json(other, rows, given.data))


def wanted_outputs(served: ServedVersion, request: InferRequest) -> list[tuple[str, bool]]:
    """(name, whether binary) of the outputs to answer with. Raises `InvalidInput`."""
    default = bool((request.parameters or {}).get("binary_data_output", False))
    if not request.outputs:
        return [(name, default) for name in served.output_names]
    wanted = [(o.name, bool((o.parameters or {}).get("binary_data", default))) for o in request.outputs]
    if len({name for name, _ in wanted}) != len(wanted):
        raise InvalidInput("an output is asked for twice")
    for name, _ in wanted:
        if name not in served.output_names:
            known = ", ".join(served.output_names)[:500]
            raise InvalidInput(f"output {name[:100]!r} is none of this model's: {known}")
    return wanted
