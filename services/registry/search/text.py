"""Words of versions, found by full text: FTS5 on SQLite, `tsvector` with a GIN index on PostgreSQL.

We split texts into words ourselves, so that both databases find the same: a word is a run of letters and digits of any
script, in its compatible form (NFKC) and without regard to case; everything else stands between words. Both index what
we give them as it is. A query is words that must all be there; `fraud*` is any word that begins with `fraud`.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from services.kernel.errors import InvalidInput
from services.registry.tables import versions

MAX_WORD = 64
"""Characters of a word that count."""
MAX_QUERY_WORDS = 20
"""Words of one query."""
NEWEST = 10_000
"""Versions that match, in which models are looked for."""

version_words = sa.table("version_words", sa.column("seq", sa.BigInteger), sa.column("words"))
"""Made by the migration alone: a virtual table on SQLite, whose `rowid` is the version's `seq`."""

_WORD = re.compile(r"[^\W_]+")


def words_of(*texts: str) -> list[str]:
    """The distinct words of `texts`, in order.

    >>> words_of("Fraud-classifier v2", "FRAUD")
    ['fraud', 'classifier', 'v2']
    """
    folded = unicodedata.normalize("NFKC", " ".join(texts)).casefold()
    return list(dict.fromkeys(word[:MAX_WORD] for word in _WORD.findall(folded)))


def write_words(
    connection: sa.Connection,
    seq: int,
    model_id: str,
    model_name: str,
    description: str,
    changes: str,
    tags: Mapping[str, str],
    *,
    anew: bool = False,
) -> None:
    """Make a version findable by these texts; with `anew`, by these instead of those before."""
    words = words_of(model_id, model_name, description, changes, *tags, *tags.values())
    values = {"seq": seq, "words": " ".join(words) if connection.dialect.name == "sqlite" else words}
    connection.execute(_STATEMENTS[connection.dialect.name, anew], values)


def matches(dialect: str, text: str) -> sa.ColumnElement[bool] | None:
    """The condition on `version_words` for a query, or None for an empty one. Raises `InvalidInput`."""
    wanted = _wanted(text)
    if not wanted and text.strip():
        raise InvalidInput("text: there is no word in it: give letters or digits")
    if not wanted:
        return None
    if dialect == "sqlite":  # a word has no sign that means something, a quote least of all
        query = " ".join(f'"{word}"{"*" if prefix else ""}' for word, prefix in wanted)
        return sa.literal_column("version_words").op("MATCH", is_comparison=True)(query)
    query = " & ".join(f"'{word}'{':*' if prefix else ''}" for word, prefix in wanted)
    return version_words.c.words.op("@@", is_comparison=True)(sa.cast(query, postgresql.TSQUERY))


def models_with_words(dialect: str, text: str) -> sa.Select[Any] | None:
    """The ids of the models of the newest `NEWEST` versions that match; None for an empty text."""
    match = matches(dialect, text)
    if match is None:
        return None
    key = key_of(dialect)
    newest = sa.select(key.label("seq")).select_from(version_words).where(match).order_by(key.desc()).limit(NEWEST)
    return sa.select(versions.c.model_id).join(newest.subquery("newest"), sa.text("newest.seq = versions.seq"))


def key_of(dialect: str) -> sa.ColumnElement[Any]:
    """The column of `version_words` that holds a version's `seq`."""
    return sa.literal_column("version_words.rowid", sa.BigInteger) if dialect == "sqlite" else version_words.c.seq


def _wanted(text: str) -> list[tuple[str, bool]]:
    wanted: dict[tuple[str, bool], None] = {}
    for piece in text.split():
        found = words_of(piece.rstrip("*"))
        for number, word in enumerate(found):
            wanted[word, piece.endswith("*") and number == len(found) - 1] = None
    if len(wanted) > MAX_QUERY_WORDS:
        raise InvalidInput(f"text: at most {MAX_QUERY_WORDS} words")
    return list(wanted)


_STATEMENTS = {
    ("sqlite", False): sa.text("INSERT INTO version_words (rowid, words) VALUES (:seq, :words)"),
    ("sqlite", True): sa.text("UPDATE version_words SET words = :words WHERE rowid = :seq"),
    ("postgresql", False): sa.text("INSERT INTO version_words (seq, words) VALUES (:seq, array_to_tsvector(:words))"),
    ("postgresql", True): sa.text("UPDATE version_words SET words = array_to_tsvector(:words) WHERE seq = :seq"),
}
