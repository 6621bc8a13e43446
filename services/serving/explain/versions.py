"""Which version is meant, and where its files lie: what is deployed here first, else the registry is asked."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from schemas.events import DeploymentWanted
from schemas.serving_options import InputContract
from services.kernel.errors import Conflict, NotFound, Unavailable
from services.serving.model import VersionRef, ref_of, refs_of

Fetch = Callable[[str, str], Awaitable[httpx.Response | None]]
"""(service, path) -> its answer to a GET with this installation's own key, or None: it does not answer."""


class RegisteredVersion(msgspec.Struct):
    """What is read here of the registry's record of a version."""

    version: str
    artifact: str
    manifest_digest: str
    stage: str
    registered_at: str
    bytes_dropped_at: str | None = None


class _Model(msgspec.Struct):
    versions: list[RegisteredVersion]
    production_version: str | None = None


class VersionBook:
    """Finds versions. `wanted` gives the deployment of a model, or None."""

    def __init__(self, fetch: Fetch, wanted: Callable[[str], DeploymentWanted | None]) -> None:
        self._fetch = fetch
        self._wanted = wanted

    async def find(self, model_id: str, version: str | None) -> VersionRef:
        """`version` (a number, or `@alias`); None: the one with the most traffic, else the one in production, else the
        newest. Raises `NotFound`, `Conflict` (its bytes were given up) and `Unavailable` (the registry is down)."""
        wanted = self._wanted(model_id)
        if wanted is not None and version is None and wanted.routes:
            main = max(wanted.routes, key=lambda route: route.weight)
            return ref_of(model_id, main, wanted.options)
        if wanted is not None:
            for ref in refs_of(wanted):
                if ref.version == version:
                    return ref
        if version is None:
            model = await self._model(model_id, 1)
            version = model.production_version or (model.versions[0].version if model.versions else None)
            if version is None:
                raise NotFound(f"the model {model_id!r} has no version")
        path = f"/mlops/models/{quote(model_id, safe='')}/{quote(version, safe='')}"
        found = msgspec.json.decode(await self._read(path), type=RegisteredVersion)
        if found.bytes_dropped_at is not None:
            raise Conflict(f"the files of version {found.version} of {model_id!r} were given up by its retention")
        return reference(model_id, found)

    def contract(self, model_id: str) -> InputContract:
        """The input contract of a deployed model; an empty one of any other."""
        wanted = self._wanted(model_id)
        return wanted.options.inputs if wanted is not None else InputContract()

    async def newest(self, model_id: str, limit: int) -> list[RegisteredVersion]:
        """The newest `limit` versions by number, the oldest of them first. Raises `NotFound` and `Unavailable`."""
        return (await self._model(model_id, limit)).versions[::-1]

    async def _model(self, model_id: str, limit: int) -> _Model:
        path = f"/mlops/models/{quote(model_id, safe='')}?limit={limit}"
        return msgspec.json.decode(await self._read(path), type=_Model)

    async def _read(self, path: str) -> bytes:
        answer = await self._fetch("registry", path)
        if answer is None or answer.status_code not in (200, 404, 422):
            raise Unavailable("the registry does not answer: it may be starting or down; try again")
        if answer.status_code != 200:
            raise NotFound(_detail(answer))
        return answer.content


def reference(model_id: str, version: RegisteredVersion) -> VersionRef:
    """Where a registered version's files lie."""
    return VersionRef(model_id, version.version, version.artifact, version.manifest_digest)


def _detail(answer: httpx.Response) -> str:
    try:
        document: Any = answer.json()
    except ValueError:
        document = None
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or f"the registry answers {answer.status_code}")
