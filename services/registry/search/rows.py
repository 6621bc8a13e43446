"""What a list of found versions shows of each: everything but the manifest, which is long."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from services.registry.tables import aliases, models, version_metrics, versions

_SHOWN = (
    *("seq", "model_id", "version", "stage", "stage_since", "framework", "description", "changes", "tags"),
    *("job_id", "experiment_id", "dataset_digest", "parent_version", "size_bytes", "manifest_digest"),
    *("registered_at", "registered_by"),
)


def among(connection: sa.Connection, column: sa.ColumnElement[int], numbers: Sequence[int]) -> sa.ColumnElement[bool]:
    """That `column` is one of `numbers`: one parameter, however many there are."""
    if connection.dialect.name == "sqlite":
        return column.in_(sa.select(sa.func.json_each(json.dumps(list(numbers))).table_valued("value").c.value))
    return column == sa.func.any(sa.bindparam(None, list(numbers), type_=ARRAY(sa.BigInteger)))


def listed(connection: sa.Connection, numbers: Sequence[int]) -> sa.FromClause:
    """`numbers` as a table with the column `seq`: one parameter, however many there are."""
    if connection.dialect.name == "sqlite":
        each: Any = sa.func.json_each(json.dumps(list(numbers))).table_valued("value").c.value
    else:
        array = sa.bindparam(None, list(numbers), type_=ARRAY(sa.BigInteger))
        each = sa.func.unnest(array).table_valued("value").render_derived().c.value
    return sa.select(sa.type_coerce(each, sa.BigInteger).label("seq")).subquery("listed")


def read_found(connection: sa.Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Of each version (by `seq`, in this order) its row, with model_name, metrics, aliases and decoded tags."""
    if not numbers:
        return []
    shown = sa.select(models.c.name.label("model_name"), *(versions.c[name] for name in _SHOWN))
    shown = shown.join(models, models.c.id == versions.c.model_id).where(among(connection, versions.c.seq, numbers))
    found = {row.seq: dict(row._mapping) for row in connection.execute(shown)}
    for row in found.values():
        row |= {"tags": json.loads(row["tags"]), "metrics": {}, "aliases": []}
    measured = sa.select(version_metrics).where(among(connection, version_metrics.c.seq, numbers))
    for seq, name, value in connection.execute(measured.order_by(version_metrics.c.seq, version_metrics.c.name)):
        found[seq]["metrics"][name] = value
    mine = (aliases.c.model_id == versions.c.model_id) & (aliases.c.version == versions.c.version)
    named = sa.select(versions.c.seq, aliases.c.alias).join(aliases, mine)
    named = named.where(among(connection, versions.c.seq, numbers)).order_by(aliases.c.alias)
    for seq, alias in connection.execute(named):
        found[seq]["aliases"].append(alias)
    return [found[number] for number in numbers]
