"""The folders under `models/` that are kept or removed as a whole, read from the store. Functions block."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schemas.manifest import MANIFEST_NAME
from services.kernel.storage import ArtifactStore, StoredObject
from services.registry.keeping.garbage import VERSIONS, unit_of


@dataclass(frozen=True)
class Unit:
    """One folder under `models/`: its bytes, its youngest write, the prefixes in it that an artifact may be, and those
    of them that have a manifest."""

    prefix: str
    size: int
    newest: float
    prefixes: tuple[str, ...]
    manifests: tuple[str, ...]


def units(store: ArtifactStore) -> Iterator[Unit]:
    """Every unit, a page of the listing at a time."""
    return _grouped(store.list(VERSIONS))


def unit_at(store: ArtifactStore, prefix: str) -> Unit | None:
    """The unit under `prefix` as it is now, or None: there is none."""
    return next(_grouped(store.list(prefix)), None)


def _grouped(items: Iterable[StoredObject]) -> Iterator[Unit]:
    """The units of a listing. Both stores list what lies in one folder together."""
    for prefix, found in itertools.groupby(items, lambda item: unit_of(item.key)):
        objects = list(found)
        if all(item.key == prefix for item in objects):  # a file where only folders belong: not ours
            continue
        folders = {folder for item in objects for folder in _folders(item.key, prefix)}
        manifests = sorted(item.key.rpartition("/")[0] for item in objects if item.key.endswith(f"/{MANIFEST_NAME}"))
        newest = max(item.modified for item in objects)
        yield Unit(
            prefix, sum(item.size for item in objects), newest.timestamp(), tuple(sorted(folders)), tuple(manifests)
        )


def _folders(key: str, prefix: str) -> Iterator[str]:
    folder = key.rpartition("/")[0]
    while len(folder) >= len(prefix):
        yield folder
        folder = folder.rpartition("/")[0]
