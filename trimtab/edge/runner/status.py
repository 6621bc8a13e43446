"""`status`: what the log holds, for a person or a program."""

from pathlib import Path

from .backlog import next_load
from .bundle import Bundle
from .forward import REFUSED_NAME
from .predlog import end_of, is_written
from .segments import SENT_NAME, Document, life_of, lives, read_number, segments, used_bytes

_EVERYTHING = 1 << 62


def status(bundle: Bundle, log: Path, budget_bytes: int) -> Document:
    """The version, and of each life how far it was written and acknowledged. Raises `OSError`."""
    refused = log / REFUSED_NAME
    return {
        "model_id": bundle.model_id,
        "version": bundle.version,
        "manifest_digest": bundle.manifest_digest,
        "log": str(log),
        "bytes": used_bytes(log),
        "budget_bytes": budget_bytes,
        "refused_by_gateway": len(refused.read_bytes().splitlines()) if refused.exists() else 0,
        "lives": [_life(folder) for folder in lives(log)],
    }


def _life(folder: Path) -> Document:
    life, end, sent = life_of(folder), end_of(folder), read_number(folder / SENT_NAME)
    load = next_load(folder, sent, max_rows=_EVERYTHING, max_bytes=_EVERYTHING)
    waiting, missing = 0, 0
    while load is not None:
        waiting += len(load.rows)
        missing += sum(gap.rows for gap in load.gaps)
        load = next_load(folder, load.end, max_rows=_EVERYTHING, max_bytes=_EVERYTHING)
    return {
        "incarnation": folder.name,
        "version": None if life is None else life.version,
        "readable": life is not None,
        "damaged_end": end is None and bool(segments(folder)),
        "written_by_a_process": is_written(folder),
        "acknowledged": sent,
        "waiting_rows": waiting,
        "missing_rows": missing,
    }
