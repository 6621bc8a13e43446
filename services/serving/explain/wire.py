"""What the serving process and its explaining child say to each other: MessagePack in frames, never a pickle.

A frame is four bytes, the length of what follows (big-endian), and one message. The parent sends a job and reads its
one answer before it sends the next. Rows are lists of values in the signature's order; tensors are flat lists.
"""

import struct
from typing import Any, BinaryIO

import msgspec

LONGEST_FRAME_BYTES = 64 << 20
"""Longer ones are never sent; one that says it is longer is damaged."""

_LENGTH = struct.Struct(">I")
HEAD_BYTES = _LENGTH.size

Number = float | int


class Version(msgspec.Struct, frozen=True):
    """A version whose verified files lie in `directory`; the child checks them against `manifest_digest` again.

    `graph`: the file of a smaller graph that answers in place of its own, and `graph_sha256` its digest.
    """

    directory: str
    manifest_digest: str
    graph: str | None = None
    graph_sha256: str | None = None


class ExplainJob(msgspec.Struct, tag="explain"):
    """Explain `rows` one by one. `target`: the class whose probability is explained; None: the one predicted.
    `samples` None: the method's own default. `evaluations`: most rows that the graph may be asked in all."""

    version: Version
    rows: list[list[Any]]
    method: str
    target: str | None
    samples: int | None
    seed: int
    background_rows: int
    max_features: int
    evaluations: int


class ImportanceJob(msgspec.Struct, tag="importance"):
    """Attribute all outputs for the rows `start .. stop` of the `rows` that are drawn, by `seed`, from the sample.

    `samples` None: the method's own number for means of many rows.
    """

    version: Version
    method: str
    rows: int
    start: int
    stop: int
    samples: int | None
    seed: int
    background_rows: int
    max_features: int


class Contribution(msgspec.Struct):
    """What one feature's value adds to the output. An element of a tensor is a feature named `x[0,1]`."""

    feature: str
    value: Any
    contribution: float


class Explained(msgspec.Struct):
    """One row, explained. `contributions` by size, the largest first; `fidelity` is LIME's weighted R²."""

    prediction: str | float
    probabilities: dict[str, float] | None
    target: str | None
    base_value: float
    output: float
    contributions: list[Contribution]
    additivity_error: float
    fidelity: float | None
    algorithm: str
    samples: int


class Explanations(msgspec.Struct, tag="explanations"):
    """The answer to an `ExplainJob`."""

    kind: str
    background_rows: int
    rows: list[Explained]


class Attributed(msgspec.Struct, tag="attributed"):
    """The answer to an `ImportanceJob`: `moved[row][feature]` is half the sum over the outputs of |contribution| (all
    of it for a single output), `by_output[output][feature]` the sum over the rows of |contribution|. `rows`: how many
    rows there are to do."""

    features: list[str]
    outputs: list[str]
    rows: int
    background_rows: int
    algorithm: str
    moved: list[list[float]]
    by_output: list[list[float]]


class Refused(msgspec.Struct, tag="refused"):
    """No answer. `code` is that of a `TrimtabError`."""

    code: str
    detail: str


Job = ExplainJob | ImportanceJob
Reply = Explanations | Attributed | Refused

_encode = msgspec.msgpack.Encoder().encode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Job | Reply) -> bytes:
    """`message` as it is sent. Raises `ValueError` when it is too long."""
    body = _encode(message)
    if len(body) > LONGEST_FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes; at most {LONGEST_FRAME_BYTES} are sent")
    return _LENGTH.pack(len(body)) + body


def length_of(head: bytes) -> int:
    """How many bytes follow `head`. Raises `ValueError` for a length that is never sent."""
    (length,) = _LENGTH.unpack(head)
    if length > LONGEST_FRAME_BYTES:
        raise ValueError(f"a frame that says it has {length} bytes")
    return int(length)


def read_frame(source: BinaryIO) -> bytes | None:
    """The next message's bytes; None at the end. Raises `ValueError` for a damaged or broken-off frame."""
    head = source.read(HEAD_BYTES)
    if not head:
        return None
    body = source.read(length_of(head)) if len(head) == HEAD_BYTES else b""
    if len(head) < HEAD_BYTES or len(body) < length_of(head):
        raise ValueError("a frame that breaks off")
    return body
