"""Keeps what is searched in step with the versions' rows; in the transaction that changes those."""

import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from services.registry.search.fields import MAX_NAME
from services.registry.search.text import write_words
from services.registry.tables import version_metrics, version_tags

HEAD = 64
"""Characters of a tag's value that its index holds."""


_ADD_METRICS, _ADD_TAGS = version_metrics.insert(), version_tags.insert()


def add(
    connection: sa.Connection,
    seq: int,
    *,
    model_id: str,
    model_name: str,
    metrics: Mapping[str, float],
    description: str,
    changes: str,
    tags: Mapping[str, str],
) -> None:
    """Make a new version findable. A metric that is not finite, or has a name that no filter can hold, is left out."""
    rows = [
        {"seq": seq, "name": name, "value": value}
        for name, value in metrics.items()
        if math.isfinite(value) and len(name) <= MAX_NAME
    ]
    if rows:
        connection.execute(_ADD_METRICS, rows)
    _add_tags(connection, seq, tags)
    write_words(connection, seq, model_id, model_name, description, changes, tags)


def annotate(
    connection: sa.Connection,
    seq: int,
    *,
    model_id: str,
    model_name: str,
    description: str,
    changes: str,
    tags: Mapping[str, str],
) -> None:
    """Make a version findable by its annotations of now."""
    connection.execute(version_tags.delete().where(version_tags.c.seq == seq))
    _add_tags(connection, seq, tags)
    write_words(connection, seq, model_id, model_name, description, changes, tags, anew=True)


def _add_tags(connection: sa.Connection, seq: int, tags: Mapping[str, str]) -> None:
    rows: list[dict[str, Any]] = [
        {"seq": seq, "name": name, "value": value, "head": value[:HEAD]}
        for name, value in tags.items()
        if len(name) <= MAX_NAME
    ]
    if rows:
        connection.execute(_ADD_TAGS, rows)
