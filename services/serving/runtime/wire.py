"""Tensors between the server and a model's own process: a head in JSON, then the raw bytes of every tensor.

    FRAME := uint32 length of HEAD | HEAD | BYTES of tensor 1 | BYTES of tensor 2 ...
    HEAD  := {"kind": ..., "tensors": [[name, dtype, shape, length of BYTES], ...], ...}

Numbers are as NumPy holds them, in the machine's own order of bytes; a string is its length as uint32 and its UTF-8.
Nothing is ever unpickled. Both ends run this module; it imports NumPy and nothing that takes long.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_HEAD_BYTES = 16 << 20
NUMBERS = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
STRING = "string"

_LENGTH = struct.Struct("<I")
_SMALL_BYTES = 1 << 16
"""Up to here one copy costs less than one more call of the system."""


class BadFrame(Exception):
    """What came is no frame, or larger than allowed."""


def send(
    to: socket.socket, head: dict[str, Any], tensors: Iterable[tuple[str, Array]] = (), *, within: float | None = None
) -> None:
    """Send one frame. Raises `TimeoutError` after `within` seconds, and `OSError` when nobody reads it."""
    described, buffers = [], []
    for name, array in tensors:
        kind, raw = _packed(array)
        described.append([name, kind, list(array.shape), len(raw)])
        buffers.append(raw)
    text = json.dumps({**head, "tensors": described}).encode()
    begun = _LENGTH.pack(len(text)) + text
    until = None if within is None else time.monotonic() + within
    if sum(map(len, buffers)) <= _SMALL_BYTES:
        begun, buffers = b"".join([begun, *buffers]), []
    for buffer in (begun, *buffers):
        _limit(to, until)
        to.sendall(buffer)


def receive(
    source: socket.socket, *, max_bytes: int, within: float | None = None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The next frame: its head, and its tensors by name. Strings are bytes objects.

    Raises `TimeoutError` after `within` seconds, `EOFError` when the other end is gone, and `BadFrame`, also when its
    tensors have more than `max_bytes`.
    """
    until = None if within is None else time.monotonic() + within
    (length,) = _LENGTH.unpack(_read(source, _LENGTH.size, until))
    if length > MAX_HEAD_BYTES:
        raise BadFrame(f"a head of {length} bytes")
    try:
        head = json.loads(bytes(_read(source, length, until)))
        described = [(str(n), str(k), tuple(map(int, shape)), int(size)) for n, k, shape, size in head.pop("tensors")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadFrame("a head that is no JSON of ours") from error
    if any(size < 0 for *_, size in described) or sum(size for *_, size in described) > max_bytes:
        raise BadFrame(f"tensors of more than {max_bytes} bytes")
    return head, {name: _unpacked(kind, shape, _read(source, size, until)) for name, kind, shape, size in described}


def _packed(array: Array) -> tuple[str, bytes]:
    if array.dtype.kind in "OSU":
        return STRING, b"".join(
            piece
            for value in array.reshape(-1).tolist()
            for raw in [value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")]
            for piece in (_LENGTH.pack(len(raw)), raw)
        )
    if array.dtype.name not in NUMBERS:
        raise BadFrame(f"a tensor of {array.dtype.name}")
    return array.dtype.name, array.tobytes()


def _unpacked(kind: str, shape: tuple[int, ...], raw: bytearray) -> Array:
    count = math.prod(shape)
    if min(shape, default=0) < 0:
        raise BadFrame(f"a tensor of the shape {list(shape)[:8]}")
    if kind == STRING:
        found = _strings(raw, count)
        strings = np.empty(count, dtype=object)
        strings[:] = found
        return strings.reshape(shape)
    if kind not in NUMBERS or count * np.dtype(kind).itemsize != len(raw):
        raise BadFrame(f"{len(raw)} bytes for {list(shape)[:8]} of {kind[:20]}")
    return np.frombuffer(raw, dtype=kind).reshape(shape)


def _strings(raw: bytearray, count: int) -> list[bytes]:
    if count * _LENGTH.size > len(raw):
        raise BadFrame(f"{len(raw)} bytes for {count} strings")
    found, at = [], 0
    for _ in range(count):
        end = at + _LENGTH.size
        if end > len(raw):
            raise BadFrame("strings that are cut off")
        at = end + _LENGTH.unpack_from(raw, end - _LENGTH.size)[0]
        if at > len(raw):
            raise BadFrame("strings that are cut off")
        found.append(bytes(raw[end:at]))
    if at != len(raw):
        raise BadFrame("more bytes than strings")
    return found


def _read(source: socket.socket, size: int, until: float | None) -> bytearray:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        _limit(source, until)
        count = source.recv_into(view[at:])
        if not count:
            raise EOFError("the other end is gone")
        at += count
    return data


def _limit(of: socket.socket, until: float | None) -> None:
    if until is not None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        of.settimeout(left)
