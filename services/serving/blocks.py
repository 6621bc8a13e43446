"""Rows of the prediction log: NumPy columns -> bytes on the way into a segment, bytes -> Arrow on the way to Kafka.

Writing happens on the hot path, once a batch, and copies buffers as they lie. Building Arrow costs more and is done by
the shipper for many blocks at once. What is redacted is so before it is written.
"""

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.features import DType, Feature, Signature
from schemas.predictions import CATEGORY, FLAGS, SUMMARY, batch_schema, input_type
from services.kernel.errors import IntegrityFailed
from services.serving.columns import Columns, Layout
from services.serving.outputs import Meaning, OutputReader
from services.serving.redaction import Redact, Redaction, Tokens
from services.serving.runtime import Array
from services.serving.segments import BlockKind

Latencies = NDArray[np.uint32]


class BlockHead(msgspec.Struct, array_like=True):
    """What a block of rows says about itself. `signature` is the number, in the same segment, of the SIGNATURE or FORM
    block that tells how to read it. `flags` are the texts that the last buffer indexes from 1 (0: none); without any
    there is no such buffer. `sampled_out` counts the rows of `version` that were answered and not logged until then.

    New members go to the end and have a default: blocks of an earlier release end before them.
    """

    first_sequence: int
    rows: int
    time_us: int
    signature: int
    version: str
    routes: list[str]
    error: str | None
    lengths: list[int]
    flags: list[str] = []
    sample: float = 1.0
    sampled_out: int = 0


class _FormDocument(msgspec.Struct):
    """A FORM block: a signature whose rows are redacted."""

    signature: msgspec.Raw
    redact: dict[str, Literal["hash", "drop"]]


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(BlockHead).decode


class RowFormat:
    """How rows of one signature are written and read. `redacted` are the features whose values are not logged."""

    def __init__(self, signature: Signature, redact: Redact | None = None, tokens: Tokens | None = None) -> None:
        """`tokens` is needed to write what is hashed."""
        self.signature = signature
        self._redaction = Redaction(signature, redact, tokens) if redact else None
        self.redacted = self._redaction.names if self._redaction else ()
        if not self.redacted:
            self._redaction = None
        self.declaration = self._declaration()
        """What a segment says before the first block of this form."""
        self.digest = signature.digest() if self._redaction is None else repr(self.declaration)
        logged = signature if self._redaction is None else self._redaction.logged
        self.schema = batch_schema(logged)
        self.flagged_schema = pa.schema([*self.schema, pa.field(FLAGS, CATEGORY)])
        self.layout = Layout(logged)
        self.outputs = OutputReader(signature)
        self._encoders = {feature.name: _encoder(feature) for feature in self.layout.other_features}

    @classmethod
    def declared(cls, kind: BlockKind, payload: bytes) -> "RowFormat":
        """The form that a SIGNATURE or FORM block tells of. It reads and does not write."""
        if kind is BlockKind.SIGNATURE:
            return cls(Signature.model_validate_json(payload))
        document = msgspec.json.decode(payload, type=_FormDocument)
        return cls(Signature.model_validate_json(bytes(document.signature)), document.redact)

    def _declaration(self) -> tuple[BlockKind, bytes]:
        signature = self.signature.model_dump_json().encode()
        if self._redaction is None:
            return BlockKind.SIGNATURE, signature
        document = _FormDocument(msgspec.Raw(signature), dict(self._redaction.ways))
        return BlockKind.FORM, msgspec.json.encode(document)

    def encode(
        self,
        *,
        first_sequence: int,
        time_us: int,
        signature: int,
        version: str,
        routes: list[str],
        route_codes: NDArray[np.uint8] | None,
        latencies_us: Latencies,
        columns: Columns,
        meaning: Meaning | None,
        error: str | None,
        sample: float = 1.0,
        sampled_out: int = 0,
    ) -> list[bytes]:
        """The parts of one ROWS payload. `route_codes` index `routes`, None when there is only one; `meaning` is None
        for rows that failed with `error`."""
        if self._redaction is not None:
            columns = self._redaction.apply(columns)
        buffers = [latencies_us.tobytes(), b"" if route_codes is None else route_codes.tobytes()]
        buffers.append(b"" if columns.packed is None else columns.packed.tobytes())
        for feature, values in zip(self.layout.other_features, columns.others, strict=True):
            buffers.append(self._encoders[feature.name](values))
        if meaning is not None:
            buffers += [
                b"" if column is None else column.tobytes()
                for column in (meaning.codes, meaning.probabilities, meaning.values)
            ]
        flags: list[str] = []
        if columns.flags is not None:
            flags = sorted(set(columns.flags) - {""})
        if columns.flags is not None and flags:
            code_of = {text: code for code, text in enumerate(["", *flags])}
            buffers.append(np.array([code_of[text] for text in columns.flags], dtype=np.uint32).tobytes())
        head = BlockHead(
            first_sequence,
            columns.rows,
            time_us,
            signature,
            version,
            routes,
            error,
            [len(b) for b in buffers],
            flags,
            sample,
            sampled_out,
        )
        encoded = _encode(head)
        return [len(encoded).to_bytes(4, "little"), encoded, *buffers]

    def read(self, payload: bytes) -> "Block":
        """Read one ROWS payload, as far as its buffers. Raises `IntegrityFailed`."""
        head, at = read_head(payload)
        buffers = []
        for length in head.lengths:
            buffers.append(payload[at : at + length])
            at += length
        expected = 3 + len(self.layout.other_features) + (3 if head.error is None else 0) + bool(head.flags)
        if at != len(payload) or len(buffers) != expected:
            raise IntegrityFailed("a block of the prediction log does not fit its signature")
        return Block(head, buffers)


class Block(msgspec.Struct, gc=False):
    """One block that was read. The buffers, in order: latencies, route codes (empty: all by the first route), the
    packed features, every other feature, then codes, probabilities and values unless the rows failed, then codes of
    flags if the head has any."""

    head: BlockHead
    buffers: list[bytes]


def read_head(payload: bytes) -> tuple[BlockHead, int]:
    """The head of a ROWS payload and where its buffers begin. Raises `IntegrityFailed`."""
    at = 4 + int.from_bytes(payload[:4], "little")
    try:
        return _decode_head(payload[4:at]), at
    except msgspec.DecodeError as error:
        raise IntegrityFailed(f"a block of the prediction log has no readable head: {error}") from error


def _encoder(feature: Feature) -> Callable[[Array], bytes]:
    if feature.dtype is DType.STRING:
        return lambda values: _encode(values.reshape(-1).tolist())
    if feature.shape != () and input_type(feature) == SUMMARY:
        return lambda values: summarize(values).tobytes()
    return lambda values: values.tobytes()


def summarize(values: Array) -> NDArray[np.float32]:
    """Mean, standard deviation, minimum and maximum of each row's elements, `[rows, 4]`."""
    flat = values.reshape(values.shape[0], -1).astype(np.float32)
    return np.stack([flat.mean(axis=1), flat.std(axis=1), flat.min(axis=1), flat.max(axis=1)], axis=1)
