"""Outputs as bytes, for a cache outside this process: what comes back may be anything. Pure.

`MAGIC (4) | key (32) | kept at, seconds since 1970 (8, float64) | BLAKE2b of all the rest (16) | outputs (msgpack)`
"""

import struct
from hashlib import blake2b
from math import prod

import msgspec
import numpy as np

from services.serving.cache.key import KEY_BYTES
from services.serving.runtime import Array

_MAGIC = b"TPC1"
_CHECK_BYTES = 16
_HEAD = struct.Struct(f"<4s{KEY_BYTES}sd{_CHECK_BYTES}s")

_AHEAD_SECONDS = 60.0
"""How far another replica's clock may be ahead."""


class _Output(msgspec.Struct, array_like=True):
    dtype: str
    shape: list[int]
    numbers: bytes
    texts: list[str] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Output]).decode


def encode_outputs(key: bytes, outputs: list[Array], now: float) -> bytes:
    """`outputs` as they were kept under `key` at `now` (seconds since 1970)."""
    body = _encode([_output(output) for output in outputs])
    return _HEAD.pack(_MAGIC, key, now, _check(key, now, body)) + body


def decode_outputs(value: bytes, key: bytes, ttl_seconds: float, now: float) -> list[Array] | None:
    """The outputs in `value`; None when it is not whole, was kept under another key, or is too old."""
    if len(value) < _HEAD.size:
        return None
    magic, its_key, kept_at, check = _HEAD.unpack_from(value)
    body = value[_HEAD.size :]
    if magic != _MAGIC or its_key != key or check != _check(key, kept_at, body):
        return None
    if not -_AHEAD_SECONDS <= now - kept_at < ttl_seconds:
        return None
    try:
        outputs = [_array(output) for output in _decode(body)]
    except (msgspec.DecodeError, ValueError, TypeError):
        return None
    for output in outputs:
        output.setflags(write=False)
    return outputs


def _check(key: bytes, kept_at: float, body: bytes) -> bytes:
    return blake2b(struct.pack("<d", kept_at) + body, key=key, digest_size=_CHECK_BYTES).digest()


def _output(output: Array) -> _Output:
    if output.dtype == np.object_:
        return _Output("object", list(output.shape), b"", output.reshape(-1).tolist())
    return _Output(output.dtype.str, list(output.shape), output.tobytes())


def _array(output: _Output) -> Array:
    if output.texts is None:
        dtype = np.dtype(output.dtype)
        if dtype.hasobject:
            raise ValueError("numbers of type object")
        return np.frombuffer(output.numbers, dtype=dtype).reshape(output.shape)
    if prod(output.shape) != len(output.texts):
        raise ValueError("texts that do not fit their shape")
    values = np.empty(len(output.texts), dtype=object)
    values[:] = output.texts
    return values.reshape(output.shape)
