"""An inference request: its JSON part, the raw tensors behind it, and the columns of a batch that they become.

Two decoders, one result, as in `services.serving.inputs`: the fast one leaves each tensor's data as raw JSON and takes
the protocol's own fields alone. What it refuses the slow one reads (other fields, NaN, which is not JSON), or it says
what is wrong. Parameters that mean nothing here are let pass.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from schemas.features import Feature
from services.kernel.errors import InvalidInput, NotBuilt
from services.serving import tensors
from services.serving.columns import Columns
from services.serving.flags import joined
from services.serving.inputs import Malformed, check_texts, load_leniently
from services.serving.runtime import Array
from services.serving.served import ServedVersion

MAX_DEPTH = 100
"""Levels of lists and objects in a request."""

_ABSENT = msgspec.Raw(b"")
_NO_PARAMETERS: Mapping[str, Any] = {}
_ONLY_BINARY = {"binary_data_size"}


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: Any = None
    parameters: dict[str, Any] | None = None


class _RawTensor(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _ABSENT
    parameters: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _PlainOutput(_Output, forbid_unknown_fields=True):
    pass


class FastRequest(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What the fast decoder reads."""

    inputs: list[_RawTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_PlainOutput] | None = None


class SlowRequest(msgspec.Struct):
    """The same of parsed JSON."""

    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


InferRequest = FastRequest | SlowRequest


class WantedOutput(msgspec.Struct, gc=False):
    """An output to answer with: raw or in JSON; `classes`: only so many best classes of each row, 0: all as it is."""

    name: str
    as_binary: bool
    classes: int = 0


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
        request: InferRequest = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_slowly(body), binary
    if request.parameters is not None or request.outputs:
        _check_depth([request.parameters, *(output.parameters for output in request.outputs or ())])
    return request, binary


def _read_slowly(body: bytes) -> SlowRequest:
    document = load_leniently(body)
    _check_depth(document)
    try:
        return msgspec.convert(document, SlowRequest)
    except msgspec.ValidationError as error:
        raise Malformed(f"not an inference request: {error}") from error


def _check_depth(document: object) -> None:
    """Raise `Malformed` when lists and objects are nested more than `MAX_DEPTH` deep."""
    level: list[object] = [document]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += [v for v in value.values() if isinstance(v, dict | list)]
            elif isinstance(value, list):
                below += [v for v in value if isinstance(v, dict | list)]
        if not below:
            return
        level = below
    raise Malformed(f"the JSON is nested more than {MAX_DEPTH} deep")


def columns_of(served: ServedVersion, request: InferRequest, binary: memoryview, string_bytes: int) -> Columns:
    """The rows of `request` as `served` takes them. Raises `InvalidInput`."""
    plain = _plain_columns(served, request, binary)
    if plain is not None:
        return plain
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


def _plain_columns(served: ServedVersion, request: InferRequest, binary: memoryview) -> Columns | None:
    """The rows of a request that has one float tensor an input and is exactly right; None for any other."""
    expected, inputs = served.tensors, request.inputs
    if len(inputs) != len(expected):
        return None
    arrays: dict[str, Array] = {}
    rows = 0
    for given in inputs:
        wanted = expected.get(given.name)
        if wanted is None or not (its_rows := wanted.rows(given.shape, given.datatype)) or (rows and its_rows != rows):
            return None
        rows = its_rows
        if given.parameters is None:
            array = wanted.from_json(rows, given.data) if isinstance(given.data, msgspec.Raw) else None
        else:
            if given.data is not _ABSENT or given.parameters.keys() != _ONLY_BINARY:
                return None
            raw, binary = _binary_of(given, binary)
            array = None if raw is None else wanted.from_binary(rows, raw)
        if array is None:
            return None
        arrays[given.name] = array
    if len(arrays) != len(expected) or len(binary):
        return None
    return served.layout.from_arrays([arrays[name] for name in expected], rows)


def _binary_of(given: _Tensor | _RawTensor, binary: memoryview) -> tuple[memoryview | None, memoryview]:
    """The tensor's part of `binary`, None when its data are JSON; and the rest. Raises `InvalidInput`."""
    parameters = given.parameters or _NO_PARAMETERS
    size = parameters.get("binary_data_size")
    absent = given.data is None or given.data is _ABSENT
    if (size is None) == absent:
        if "shared_memory_region" in parameters:
            raise NotBuilt(f"input {given.name[:100]!r}: shared memory is not read here; send the data itself")
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


def first_value(source: tuple[InferRequest, memoryview], name: str) -> object:
    """What a request says of a sticky key: its parameter of that name, else the first element of that input."""
    request, binary = source
    found = (request.parameters or {}).get(name)
    if found is not None:
        return found
    at = 0
    for given in request.inputs:
        size = (given.parameters or {}).get("binary_data_size")
        if given.name == name:
            if size is None:
                return None if given.data is _ABSENT else tensors.first_of_json(given.data)
            return tensors.first_of_binary(given.datatype, binary[at:])
        at += size if isinstance(size, int) and size > 0 else 0
    return None


@cache
def _all_outputs(names: tuple[str, ...], as_binary: bool) -> list[WantedOutput]:
    return [WantedOutput(name, as_binary) for name in names]


def wanted_outputs(served: ServedVersion, request: InferRequest) -> list[WantedOutput]:
    """The outputs to answer with. Raises `InvalidInput`."""
    default = False
    if request.parameters:
        default = _flag(request.parameters, "binary_data_output", False)
    named = request.outputs
    outputs = _named_outputs(served, named, default) if named else _all_outputs(served.output_names, default)
    if served.half_outputs:
        for output in outputs:
            if output.name in served.half_outputs and not output.as_binary and not output.classes:
                raise not_in_json(output)
    return outputs


def not_in_json(output: WantedOutput) -> InvalidInput:
    """The error for an output of type FP16 that is wanted in JSON."""
    return InvalidInput(f"output {output.name!r} is FP16, which JSON does not have: ask for it as binary data")


def _named_outputs(
    served: ServedVersion, named: "list[_PlainOutput] | list[_Output]", default: bool
) -> list[WantedOutput]:
    wanted: dict[str, WantedOutput] = {}
    for given in named:
        parameters = given.parameters or _NO_PARAMETERS
        if given.name not in served.output_names:
            known = ", ".join(served.output_names)[:500]
            raise InvalidInput(f"output {given.name[:100]!r} is none of this model's: {known}")
        if given.name in wanted:
            raise InvalidInput(f"output {given.name!r} is asked for twice")
        if "shared_memory_region" in parameters:
            raise NotBuilt(f"output {given.name!r}: shared memory is not written here; ask for the data itself")
        classes = parameters.get("classification", 0)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
            raise InvalidInput(f"output {given.name!r}: classification must be a number of classes")
        wanted[given.name] = WantedOutput(given.name, _flag(parameters, "binary_data", default), classes)
    return list(wanted.values())


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"the parameter {name} must be true or false")
    return value
