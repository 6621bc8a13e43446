"""What is forgotten: old raw predictions and labels, long histories, incarnations that have ended."""

import time

import sqlalchemy as sa

from services.kernel.db import Database
from services.kernel.telemetry import get_logger
from services.monitor import metrics, tables
from services.monitor.spool import Spool

log = get_logger(__name__)

WATERMARK_DAYS = 14.0
"""Longer than the topic `predictions` keeps anything: no repeat can come after that."""


def prune_spool(db: Database, spool: Spool, *, most_bytes: int, days: float) -> int:
    """Delete the oldest finished segments past the size or the age, their blocks first; how many went. Blocks."""
    size, oldest, gone = spool.size(), time.time() - days * 86_400, 0
    for modified, length, partition, segment in spool.files():
        if size <= most_bytes and modified >= oldest:
            break
        db.write_now(lambda connection, at=(partition, segment): _forget_segment(connection, *at))  # type: ignore[misc]
        spool.delete(partition, segment)
        size -= length
        gone += 1
    metrics.SPOOL_BYTES.set(size)
    if gone:
        log.info("spool_pruned", segments=gone, bytes_left=size)
    return gone


def prune_tables(db: Database, *, history_windows: int, days: float) -> None:
    """Drop windows past the history, labels and watermarks that are too old. Blocks."""
    before = time.time() - days * 86_400
    db.write_now(lambda connection: _prune(connection, history_windows, before))


def _forget_segment(connection: sa.Connection, partition: int, segment: int) -> None:
    block = tables.blocks.c
    doomed = sa.select(block.id).where(block.partition == partition, block.segment == segment)
    connection.execute(tables.foreign_ids.delete().where(tables.foreign_ids.c.block_id.in_(doomed)))
    connection.execute(tables.labels.delete().where(tables.labels.c.block_id.in_(doomed)))
    connection.execute(tables.blocks.delete().where(block.partition == partition, block.segment == segment))


def _prune(connection: sa.Connection, history_windows: int, before: float) -> None:
    connection.execute(tables.labels.delete().where(tables.labels.c.block_id.is_(None), tables.labels.c.at < before))
    horizon = time.time() - WATERMARK_DAYS * 86_400
    connection.execute(tables.watermarks.delete().where(tables.watermarks.c.at < horizon))
    for table in (tables.windows, tables.performance):
        crowded = connection.execute(
            sa.select(table.c.model_id, table.c.version)
            .group_by(table.c.model_id, table.c.version)
            .having(sa.func.count() > history_windows)
        ).all()
        for row in crowded:
            of_version = sa.and_(table.c.model_id == row.model_id, table.c.version == row.version)
            last = connection.execute(
                sa.select(table.c.id).where(of_version).order_by(table.c.id.desc()).offset(history_windows).limit(1)
            ).scalar_one()
            connection.execute(table.delete().where(of_version, table.c.id <= last))
