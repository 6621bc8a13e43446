"""Idempotency-Key: the same request twice has one effect and one answer; the key with another request is a conflict."""

import hashlib
import json
import time
from typing import Any

import sqlalchemy as sa

from services.kernel.errors import Conflict
from services.kernel.tables import idempotency


def digest(document: Any) -> str:
    """SHA-256 (hex) of a JSON document, independent of key order."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def recall(connection: sa.Connection, route: str, key: str | None, request_sha256: str) -> tuple[int, Any] | None:
    """(status, response) of the first request with `key`, or None. Raises `Conflict` when it was another request."""
    if key is None:
        return None
    row = connection.execute(
        sa.select(idempotency).where(idempotency.c.route == route, idempotency.c.key == key)
    ).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != request_sha256:
        raise Conflict(f"the Idempotency-Key {key!r} was used with another request: choose a new key for a new request")
    return int(row.status), json.loads(row.response)


def remember(
    connection: sa.Connection, route: str, key: str | None, request_sha256: str, status: int, response: Any
) -> None:
    """Keep the answer in the transaction that made the change."""
    if key is not None:
        connection.execute(
            idempotency.insert().values(
                route=route,
                key=key,
                request_sha256=request_sha256,
                status=status,
                response=json.dumps(response, default=str),
                at=time.time(),
            )
        )
