"""What a cached prediction is found by. Pure."""

from hashlib import blake2b

import msgspec
import numpy as np

from services.serving.columns import Columns

KEY_BYTES = 32

_FORM = b"trimtab-prediction-1"
_pack = msgspec.msgpack.Encoder().encode


def key_of(identity: str, columns: Columns) -> bytes:
    """BLAKE2b over the version's `identity` (the digest of its manifest, and of the graph that really runs) and the
    validated inputs.

    The inputs are in one canonical form whichever face they came through: the layout's arrays, of the signature's
    types and in its order, each with its length before it. Two different inputs never make the same text to hash.
    """
    digest = blake2b(_FORM, digest_size=KEY_BYTES)
    parts = [identity.encode(), columns.rows.to_bytes(8, "little")]
    if columns.packed is not None:
        parts.append(columns.packed.tobytes())
    for column in columns.others:
        parts.append(_pack(column.reshape(-1).tolist()) if column.dtype == np.object_ else column.tobytes())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
