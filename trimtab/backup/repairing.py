"""`trimtab restore --artifacts-only`: bytes that the store has lost or damaged, out of a backup.

Which bytes belong in the store the rows of the installation say, as they are now: what was given up since the backup
does not come back, and what came since is looked at too. Every object that a row names is read and hashed; nothing
else is touched, and no database is written. A write replaces an object as a whole, so services may run meanwhile.
"""

from collections.abc import Callable
from pathlib import Path

from services.kernel.errors import NotFound
from services.kernel.storage import ArtifactStore, open_store
from trimtab.backup import named, objects, record
from trimtab.backup.named import Named
from trimtab.backup.report import Report
from trimtab.backup.saving import Show
from trimtab.local.settings import LocalSettings


def repair(settings: LocalSettings, folder: Path, show: Show) -> Report:
    """Put back what rows name, the store lacks or has damaged, and the backup in `folder` holds whole.

    What the backup does not hold either is `missing` in the report. Raises `BackupError`, `Unavailable`, `OSError`.
    """
    report, made = Report(), record.read(folder)
    with report.timed("databases"):
        wanted = named.in_databases(settings)
    store = open_store(settings)
    with report.timed("artifacts in the store"), show("artifacts in the store", "bytes") as tell:
        sizes = {found.key: found.size for found in store.list()}
        sound, lost = _look(store, sizes, wanted, tell)
    with report.timed("artifacts put back"), show("artifacts put back", "objects") as tell:

        def put_back(one: Named) -> int | None:
            path = objects.bytes_of(folder, one.sha256)
            if not objects.is_whole(folder, one.sha256):
                return None
            store.put_file(one.key, path)
            return path.stat().st_size

        put: dict[str, int] = {}
        for done, (one, size) in enumerate(objects.beside_each_other(put_back, lost), 1):
            if size is not None:
                put[one.key] = size
            tell(done, len(lost))
    report.facts["made_at"] = made.made_at.isoformat()
    report.rows.append(("artifacts in the store", len(sound), "objects", sum(sizes[key] for key in sound)))
    report.rows.append(("artifacts put back", len(put), "objects", sum(put.values())))
    report.put_back, report.missing = tuple(sorted(put)), tuple(sorted(one.key for one in lost if one.key not in put))
    report.note("put back", report.put_back)
    report.note("lost or damaged in the store, and not whole in this backup: look for an older one", report.missing)
    return report


def _look(
    store: ArtifactStore, sizes: dict[str, int], wanted: set[Named], tell: Callable[[int, int], None]
) -> tuple[set[str], list[Named]]:
    """The keys of `sizes` that hold what rows name there, and what the store lacks; every object is read once."""
    first = {each: next((key for key in each.keys if key in sizes), None) for each in wanted}
    reading = sorted({key for key in first.values() if key is not None})
    total, done, digests = sum(sizes[key] for key in reading), 0, dict[str, str | None]()

    def digest(key: str) -> str | None:
        try:
            return objects.digest_of_stream(store.open(key))
        except NotFound:
            return None

    for key, found in objects.beside_each_other(digest, reading):
        digests[key] = found
        done += sizes[key]
        tell(done, total)
    lost = {each for each, key in first.items() if key is None or digests[key] != each.sha256}
    return set(digests) - {key for key in map(first.get, lost) if key is not None}, _once(lost, wanted - lost)


def _once(lost: set[Named], sound: set[Named]) -> list[Named]:
    """One of `lost` for each key; none for a holder of bytes that a version has under another key."""
    there = {each.sha256 for each in sound}
    needed = (each for each in lost if not (each.anywhere and each.sha256 in there))
    return sorted({each.key: each for each in needed}.values())
