"""Frames between the server and a model's own process."""

import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.serving.runtime import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def through(array: wire.Array) -> wire.Array:
    near, far = socket.socketpair()
    with near, far:
        sender = threading.Thread(target=wire.send, args=(near, {"kind": "run"}, [("x", array)]))
        sender.start()
        head, tensors = wire.receive(far, max_bytes=1 << 30, within=10)
        sender.join()
    assert head == {"kind": "run"}
    return tensors["x"]


@given(
    hnp.arrays(
        st.sampled_from(sorted(wire.NUMBERS)).map(np.dtype),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
    )
)
def test_numbers_arrive_as_they_were(array: wire.Array) -> None:
    found = through(array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@given(st.lists(st.text(), max_size=8))
def test_strings_arrive_as_they_were(words: list[str]) -> None:
    array = np.array([*words, "x"], dtype=object).reshape(-1, 1)
    found = through(array)
    assert found.shape == array.shape
    assert [value.decode("utf-8", "surrogatepass") for value in found.reshape(-1)] == [*words, "x"]


def test_what_does_not_lie_in_one_piece_arrives() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert through(table.T).tolist() == table.T.tolist()
    large = np.zeros((1 << 10, 1 << 8))
    assert through(large).shape == large.shape


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (struct.pack("<I", wire.MAX_HEAD_BYTES + 1), "a head of"),
        (struct.pack("<I", 2) + b"[]", "no JSON of ours"),
        (struct.pack("<I", 1) + b"\xff", "no JSON of ours"),
        (b'{"tensors": [["x", "int64", [2], 8]]}' + bytes(8), "8 bytes for"),
        (b'{"tensors": [["x", "object", [1], 8]]}' + bytes(8), "8 bytes for"),
        (b'{"tensors": [["x", "int64", [-1], 8]]}' + bytes(8), "the shape"),
        (b'{"tensors": [["x", "int8", [1], -1]]}', "more than"),
        (b'{"tensors": [["x", "int8", [1000000], 1000000]]}', "more than"),
        (b'{"tensors": [["x", "string", [1], 4]]}' + struct.pack("<I", 9), "cut off"),
        (b'{"tensors": [["x", "string", [1], 6]]}' + struct.pack("<I", 1) + b"ab", "more bytes"),
        (b'{"tensors": [["x", "string", [1000000000], 4]]}' + bytes(4), "for 1000000000 strings"),
    ],
)
def test_what_is_no_frame_is_refused(pair: Pair, frame: bytes, says: str) -> None:
    near, far = pair
    begun = b"" if frame[:1] != b"{" else struct.pack("<I", frame.rindex(b"}") + 1)
    near.sendall(begun + frame)
    with pytest.raises(wire.BadFrame, match=says):
        wire.receive(far, max_bytes=1000, within=10)


def test_an_end_that_is_gone_or_silent(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(TimeoutError):
        wire.receive(far, max_bytes=1000, within=0.01)
    with pytest.raises(TimeoutError):
        wire.send(near, {}, [("x", np.zeros(1 << 22))], within=0.05)
    near.close()
    with pytest.raises(EOFError):
        wire.receive(far, max_bytes=1 << 30, within=5)
    with pytest.raises(OSError, match=r"pipe|reset"):
        wire.send(far, {}, within=1)


def test_types_that_have_no_place_on_the_wire_are_refused(pair: Pair) -> None:
    with pytest.raises(wire.BadFrame, match="complex128"):
        wire.send(pair[0], {}, [("x", np.zeros(1, np.complex128))])
