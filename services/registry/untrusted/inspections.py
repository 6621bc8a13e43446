"""What was opened once is not opened again: the verdicts of the capped children, by content.

A file that passed is remembered under its SHA-256 and the revision of the checks, whoever sent it and under whatever
name; a graph's interface is remembered with it. What was refused is not: it is opened again when it is sent again.
Whoever registers files by digest finds here whether they were inspected (`find_interface`, `has_passed`).
"""

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from schemas.manifest import MODEL_NAME
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
    interface_of,
)

INSPECTOR_REVISION = 2
"""Raise it whenever `graph.py`, `keras_archive.py` or its list of names changes what passes: nothing that passed
before is believed then."""
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
        """The interface of a version's `model.onnx`, when this and every further graph and Keras archive may be kept.

        `files` are (name in the version, where it lies, SHA-256); `known` is the interface of `model.onnx` where that
        has been looked up already. Raises `InvalidInput` and `TooLarge`.
        """
        interface = known
        for name, path, sha256 in files:
            suffix = Path(name).suffix.lower()
            if name == MODEL_NAME and known is not None:
                continue
            if suffix == ".onnx":
                found = await self.graph(path, sha256)
                interface = found if name == MODEL_NAME else interface
            elif suffix == ".keras":
                await self.keras(path, sha256)
        if interface is None:
            raise InvalidInput(f"the version's model is missing: send one ONNX file, or name it {MODEL_NAME}")
        return interface

    async def graph(self, path: Path, sha256: str) -> GraphInterface:
        """The interface of the ONNX file at `path`, which has this digest. Raises `InvalidInput` and `TooLarge`."""
        known = await self._db.read(lambda connection: find_interface(connection, sha256))
        if known is not None:
            return known
        async with self._places:
            known = await self._db.read(lambda connection: find_interface(connection, sha256))
            if known is not None:  # opened while this one waited: many may register the same graph at once
                return known
            found = await asyncio.to_thread(inspect_graph, path, self._limits, self._spare.take)
            if (await asyncio.to_thread(path.stat)).st_size >= EXPECTED_BYTES:
                await self.expect()  # where one came another may follow, and now there is time
            await self._db.write(lambda connection: remember_interface(connection, sha256, found))
        return found

    async def keras(self, path: Path, sha256: str) -> None:
        """Raise `InvalidInput` or `TooLarge` unless the Keras archive at `path`, with this digest, is harmless."""
        if await self._db.read(lambda connection: has_passed(connection, sha256)):
            return
        async with self._places:
            await asyncio.to_thread(inspect_keras, path, self._limits)
        await self._db.write(lambda connection: remember_passed(connection, sha256))


def find_interface(connection: sa.Connection, sha256: str) -> GraphInterface | None:
    """The interface of the graph with this digest, or None: these checks have not passed it yet."""
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
