"""What was opened once is not opened again: the verdicts of the capped children, by content.

A file that passed is remembered under its SHA-256 and the revision of the checks, whoever sent it and under whatever
name; a graph's interface is remembered with it. What was refused is not: it is opened again when it is sent again.
Whoever registers files by digest finds here whether they were inspected (`find_interface`, `has_passed`).
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import sqlalchemy as sa

from schemas.manifest import MODEL_NAME, SAVED_MODEL_NAME, ManifestFile, content_digest, model_files
from services.kernel.db import Database, insert_into
from services.kernel.errors import InvalidInput
from services.registry.tables import inspections
from services.registry.untrusted import graph
from services.registry.untrusted.children import Spare
from services.registry.untrusted.inspection import (
    GraphInterface,
    Limits,
    document_of,
    inspect_graph,
    inspect_keras,
    inspect_saved_model,
    interface_of,
)

INSPECTOR_REVISION = 2
"""Raise it whenever `graph.py`, `saved_model.py`, `keras_archive.py` or their lists change what passes: nothing that
passed before is believed then."""
EXPECTED_BYTES = 16 << 20
"""While so much comes there is time to start the process that will open it, should it be a graph."""


class Inspector:
    """Opens untrusted files in capped children, `at_once` of them beside each other; further ones wait."""

    def __init__(self, db: Database, limits: Limits, at_once: int) -> None:
        self._db = db
        self._limits = limits
        self._places = asyncio.Semaphore(at_once)
        self._spare = Spare(graph)

    async def expect(self) -> None:
        """A graph may have to be opened soon: whoever will do that may start meanwhile."""
        await asyncio.to_thread(self._spare.expect)

    async def start(self) -> None:
        """Nothing is begun before something is expected."""

    async def stop(self) -> None:
        """End what waits."""
        await asyncio.to_thread(self._spare.close)

    async def version(
        self, files: Iterable[tuple[str, Path, str]], known: GraphInterface | None = None
    ) -> GraphInterface:
        """The interface of a version's model, when this and every further graph and Keras archive may be kept.

        `files` are (name in the version, where it lies, SHA-256); `known` is the interface of the model where that
        has been looked up already. Raises `InvalidInput` and `TooLarge`.
        """
        interface = known
        listed = list(files)
        for name, path, sha256 in listed:
            suffix = Path(name).suffix.lower()
            if name == MODEL_NAME and known is not None:
                continue
            if suffix == ".onnx":
                found = await self.graph(path, sha256)
                interface = found if name == MODEL_NAME else interface
            elif suffix == ".keras":
                await self.keras(path, sha256)
        paths = {name: path for name, path, _ in listed}
        if interface is None and SAVED_MODEL_NAME in paths:
            key = model_key((name, sha256) for name, _, sha256 in listed)
            interface = await self.saved_model(paths[SAVED_MODEL_NAME], key)
        if interface is None:
            raise InvalidInput(f"the version's model is missing: send one ONNX file, or name it {MODEL_NAME}")
        return interface

    async def graph(self, path: Path, sha256: str) -> GraphInterface:
        """The interface of the ONNX file at `path`, which has this digest. Raises `InvalidInput` and `TooLarge`."""
        found, is_new = await self._once(sha256, lambda: inspect_graph(path, self._limits, self._spare.take))
        if is_new and (await asyncio.to_thread(path.stat)).st_size >= EXPECTED_BYTES:
            await self.expect()  # where one came another may follow, and now there is time
        return found

    async def saved_model(self, path: Path, key: str) -> GraphInterface:
        """The interface of the SavedModel of `path`, its `saved_model.pb`; `key` is that of all its files.

        Raises `InvalidInput` and `TooLarge`.
        """
        found, _ = await self._once(key, lambda: inspect_saved_model(path, self._limits))
        return found

    async def _once(self, key: str, opened: Callable[[], GraphInterface]) -> tuple[GraphInterface, bool]:
        """The interface that is remembered under `key`, or is found now; and whether it was found now."""
        known = await self._db.read(lambda connection: find_interface(connection, key))
        if known is not None:
            return known, False
        async with self._places:
            known = await self._db.read(lambda connection: find_interface(connection, key))
            if known is not None:  # opened while this one waited: many may register the same graph at once
                return known, False
            found = await asyncio.to_thread(opened)
            await self._db.write(lambda connection: remember_interface(connection, key, found))
        return found, True

    async def keras(self, path: Path, sha256: str) -> None:
        """Raise `InvalidInput` or `TooLarge` unless the Keras archive at `path`, with this digest, is harmless."""
        if await self._db.read(lambda connection: has_passed(connection, sha256)):
            return
        async with self._places:
            await asyncio.to_thread(inspect_keras, path, self._limits)
        await self._db.write(lambda connection: remember_passed(connection, sha256))


def model_key(files: Iterable[tuple[str, str]]) -> str:
    """What the verdict on a version's model is remembered under; `files` are (name in the version, SHA-256).

    A graph's own SHA-256, or the content digest of a SavedModel. Raises `InvalidInput` for a version without a model.
    """
    digests = dict(files)
    names = model_files(digests)
    if not names:
        raise InvalidInput(f"the version's model is missing: send one ONNX file, or name it {MODEL_NAME}")
    if MODEL_NAME in names:
        return digests[MODEL_NAME]
    return content_digest(ManifestFile(path=name, size=0, sha256=digests[name], is_model=True) for name in names)


def find_interface(connection: sa.Connection, sha256: str) -> GraphInterface | None:
    """The interface of the model with this key, or None: these checks have not passed it yet."""
    found = _find(connection, sha256)
    document = json.loads(found) if found is not None else None
    return interface_of(document) if document else None


def has_passed(connection: sa.Connection, sha256: str) -> bool:
    """Whether a Keras archive with this digest has passed these checks."""
    return _find(connection, sha256) == _KERAS


def remember_interface(connection: sa.Connection, sha256: str, interface: GraphInterface) -> None:
    """The graph with this digest has passed these checks and has this interface."""
    _remember(connection, sha256, json.dumps(document_of(interface)))


def remember_passed(connection: sa.Connection, sha256: str) -> None:
    """The Keras archive with this digest has passed these checks."""
    _remember(connection, sha256, _KERAS)


_KERAS = "{}"
"""What is kept of an archive: it has no interface."""


def _find(connection: sa.Connection, sha256: str) -> str | None:
    here = (inspections.c.sha256 == sha256) & (inspections.c.inspector == INSPECTOR_REVISION)
    return connection.execute(sa.select(inspections.c.interface).where(here)).scalar()


def _remember(connection: sa.Connection, sha256: str, document: str) -> None:
    values = {"sha256": sha256, "inspector": INSPECTOR_REVISION, "interface": document, "at": time.time()}
    connection.execute(insert_into(connection, inspections).values(**values).on_conflict_do_nothing())
