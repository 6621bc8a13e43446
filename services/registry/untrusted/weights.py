"""Cut the weights out of an ONNX file without reading them: what is left is small, and says the same about the graph.

A tensor's `raw_data` is bytes to every parser of protobuf: nothing in it has a meaning for the graph. So the walk below
reads tags and lengths only, of the model, its graph and the graph's initializers, and jumps over the rest. Where a
file could be read in two ways (a field twice that stands once, a number longer than it need be, groups), it gives up:
such a file is parsed whole, as if there were no walk. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from dataclasses import dataclass

MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
"""Field numbers in onnx.proto."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELD = (1 << 29) - 1
MAX_LENGTH = (1 << 31) - 1


@dataclass(frozen=True)
class Weights:
    """The bytes of the graph's initializer number `initializer`: where they lie in the file."""

    initializer: int
    offset: int
    size: int


class _Ambiguous(Exception):
    """The file may mean something else to another parser."""


def cut(data: memoryview, least: int) -> tuple[bytes, list[Weights]] | None:
    """The model in `data` with an empty `raw_data` for every initializer of `least` bytes and more, and what was cut.

    None where that would spare less than half of the file, and for what is not written in the one plain way. Time and
    memory grow with what is left, not with the weights.
    """
    try:
        left, found = _of_model(data, least)
    except (_Ambiguous, IndexError):
        return None
    if sum(weights.size for weights in found) < len(data) // 2:
        return None
    return b"".join(left), found


def _of_model(data: memoryview, least: int) -> tuple[list[memoryview | bytes], list[Weights]]:
    left: list[memoryview | bytes] = []
    found: list[Weights] = []
    seen = False
    for number, kind, begin, start, end in _fields(data, 0, len(data)):
        if number != MODEL_GRAPH:
            left.append(data[begin:end])
            continue
        if kind != BYTES or seen:
            raise _Ambiguous
        seen = True
        graph = _of_graph(data, start, end, least, found)
        left += [_header(MODEL_GRAPH, sum(map(len, graph))), *graph]
    return left, found


def _of_graph(data: memoryview, start: int, end: int, least: int, found: list[Weights]) -> list[memoryview | bytes]:
    left: list[memoryview | bytes] = []
    kept = start  # from here on nothing has been taken over yet
    initializers = 0
    for number, kind, begin, body, after in _fields(data, start, end):
        if number != GRAPH_INITIALIZER:
            continue
        if kind != BYTES:
            raise _Ambiguous
        if after - body >= least:
            raw = _raw_data(data, body, after)
            if raw is not None and raw[2] - raw[1] >= least:
                tag, first, last = raw
                empty = _header(TENSOR_RAW_DATA, 0)
                left += [data[kept:begin], _header(GRAPH_INITIALIZER, tag - body + len(empty) + after - last)]
                left += [data[body:tag], empty, data[last:after]]
                kept = after
                found.append(Weights(initializers, first, last - first))
        initializers += 1
    return [*left, data[kept:end]]


def _raw_data(data: memoryview, start: int, end: int) -> tuple[int, int, int] | None:
    """Where a tensor's `raw_data` begins with its tag, where its bytes begin and end; None without."""
    raw = None
    for number, kind, begin, body, after in _fields(data, start, end):
        if number == TENSOR_RAW_DATA:
            if kind != BYTES or raw is not None:
                raise _Ambiguous
            raw = begin, body, after
    return raw


def _fields(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number, kind, where its tag begins, where its content begins and ends: of each field of a message."""
    while at < end:
        begin = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        body = at
        if kind == BYTES:
            length, body = _varint(data, at)
            if length > MAX_LENGTH:
                raise _Ambiguous
            at = body + length
        elif kind == VARINT:
            _, at = _varint(data, at)
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise _Ambiguous
        if not 0 < number <= MAX_FIELD or at > end:
            raise _Ambiguous
        yield number, kind, begin, body, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends. Raises `IndexError` behind the end of the data."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (not byte and shift) or value >> 64:
                raise _Ambiguous
            return value, at
        shift += 7
        if shift > 63:
            raise _Ambiguous


def _header(number: int, length: int) -> bytes:
    """Tag and length of a field of bytes."""
    written = bytearray([number << 3 | BYTES])
    while length > 0x7F:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    written.append(length)
    return bytes(written)
