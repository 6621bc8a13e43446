"""What of a model's inputs is not logged as it is: features that are left out, or replaced by keyed digests.

It is applied before a row is written to its segment, so that a redacted value reaches neither the disk nor Kafka. A
digest depends on the key, the feature's name and the value: with one key on all replicas the same value of a feature is
the same token everywhere, in every model, and two features can't be joined by their tokens. A missing value stays
missing. Who has the key can test guesses, and who sees the log can count how often a token comes: a digest hides
values, it does not make few of them many.

Source: BLAKE2b in keyed mode (RFC 7693, section 2.9), `person` set to the feature.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Literal

import numpy as np

from schemas.features import DType, Feature, Signature
from services.serving.columns import Columns, Layout
from services.serving.runtime import Array

Redact = Mapping[str, Literal["hash", "drop"]]

TOKEN_BYTES = 16


class Tokens:
    """Makes tokens with one key. Without a key it draws one: its tokens are comparable within this process's life only,
    and nobody can test guesses."""

    def __init__(self, key: bytes | None = None) -> None:
        self.has_key = key is not None
        # BLAKE2b takes at most 64 bytes.
        self._key = secrets.token_bytes(32) if key is None else hashlib.blake2b(key, digest_size=64).digest()

    def column(self, feature: Feature, values: Array) -> Array:
        """One token a row of `values` `[rows, *shape]`, `''` where the value is missing.

        >>> feature = Feature(name="age", dtype=DType.FLOAT32, nullable=True)
        >>> tokens = Tokens(b"secret").column(feature, np.array([3.0, np.nan, 3.0], dtype=np.float32))
        >>> tokens[0] == tokens[2] == Tokens(b"secret").column(feature, np.array([3]))[0], tokens[1]
        (True, '')
        """
        person = hashlib.blake2b(feature.name.encode(), digest_size=16).digest()
        start = hashlib.blake2b(digest_size=TOKEN_BYTES, key=self._key, person=person)
        missing = _text(feature.missing) if feature.nullable else None
        tokens = np.empty(len(values), dtype=object)
        known: dict[str, str] = {}
        for row, value in enumerate(values.tolist()):
            text = _text(value)
            token = known.get(text)
            if token is None:
                digest = start.copy()
                digest.update(text.encode())
                token = known[text] = "" if text == missing else digest.hexdigest()
            tokens[row] = token
        return tokens


def _text(value: object) -> str:
    """The same text for the same value of a feature, whatever its type was in that version: 3 and 3.0 are one.

    >>> _text(3.0), _text(-0.0), _text(0.1), _text(True), _text(["a", "b"])
    ('3', '0', '0.1', 'true', "['a', 'b']")
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return repr([_text(element) for element in value])
    return str(value)


class Redaction:
    """What becomes of the rows of one signature. `names` are the features that it concerns."""

    def __init__(self, signature: Signature, redact: Redact, tokens: Tokens | None = None) -> None:
        """`tokens` is not needed to read what is already redacted."""
        self._tokens = tokens
        self._layout = Layout(signature)
        ways = {feature.name: redact[feature.name] for feature in signature.inputs if feature.name in redact}
        self.ways: Redact = ways
        self.names = tuple(ways)
        self._hashed = {feature.name: feature for feature in signature.inputs if ways.get(feature.name) == "hash"}
        logged = tuple(
            Feature(name=feature.name, dtype=DType.STRING, nullable=True) if feature.name in self._hashed else feature
            for feature in signature.inputs
            if ways.get(feature.name) != "drop"
        )
        self.logged: Signature = signature.model_copy(update={"inputs": logged})
        """The signature of what is logged; it may have no inputs."""
        self.layout = Layout(self.logged)

    def apply(self, columns: Columns) -> Columns:
        """The rows as they are logged, for `layout`."""
        assert self._tokens is not None, "a redaction that only reads has no key"
        packed, others = None, []
        if columns.packed is not None:
            kept = [i for i, feature in enumerate(self._layout.packed_features) if feature.name not in self.ways]
            packed = columns.packed[kept] if kept else None
        by_name = dict(self._columns(columns))
        for feature in self.layout.other_features:
            values = by_name[feature.name]
            hashed = self._hashed.get(feature.name)
            others.append(values if hashed is None else self._tokens.column(hashed, values))
        return Columns(columns.rows, packed, others, columns.flags)

    def _columns(self, columns: Columns) -> list[tuple[str, Array]]:
        found: list[tuple[str, Array]] = []
        if columns.packed is not None:
            found += [(f.name, v) for f, v in zip(self._layout.packed_features, columns.packed, strict=True)]
        return found + [(f.name, v) for f, v in zip(self._layout.other_features, columns.others, strict=True)]
