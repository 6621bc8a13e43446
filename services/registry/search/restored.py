"""Full text after a restore: a backup does not hold it, since every database keeps it in a way of its own."""

import json

import sqlalchemy as sa

from services.registry.search.text import version_words, write_words
from services.registry.tables import versions

ROWS_AT_ONCE = 500


def find_again(connection: sa.Connection) -> None:
    """Make every version findable by its texts, from its row. O(versions)."""
    connection.execute(version_words.delete())
    columns = (versions.c.seq, versions.c.model_id, versions.c.manifest, versions.c.description, versions.c.changes)
    query = sa.select(*columns, versions.c.tags)
    last = -1
    while True:
        after = query.where(versions.c.seq > last).order_by(versions.c.seq).limit(ROWS_AT_ONCE)
        page = connection.execute(after).all()
        for seq, model_id, manifest, description, changes, tags in page:
            name = json.loads(manifest).get("model_name", "")
            write_words(connection, seq, model_id, name, description, changes, json.loads(tags))
        if not page:
            return
        last = page[-1].seq
