"""The versions that edge devices speak of, as the registry has them."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.features import Signature
from services.kernel.artifacts import MAX_MANIFEST_BYTES, read_manifest
from services.kernel.errors import Conflict, NotFound, Unavailable

CACHED = 256
"""Versions that are remembered; the one that was asked for longest ago goes first."""


class Response(Protocol):
    """What an HTTP client answers."""

    status_code: int

    @property
    def content(self) -> bytes:
        """The body."""
        ...


Fetch = Callable[[str], Awaitable[Response | None]]
"""The registry's answer to GET of a path, or None when it does not answer."""


@dataclass(frozen=True)
class KnownVersion:
    """A version by its manifest."""

    manifest_digest: str
    signature_digest: str
    signature: Signature
    created_at: datetime


class KnownVersions:
    """Asks the registry once a version. A device is believed only what it says of a version that is registered: rows of
    another would hold up the monitor, which waits for versions that it has not heard of."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: OrderedDict[tuple[str, str], KnownVersion] = OrderedDict()

    async def get(self, model_id: str, version: str, manifest_digest: str, signature_digest: str) -> KnownVersion:
        """The version. Raises `NotFound`, `Conflict` when the registry's record is another, and `Unavailable`."""
        key = model_id, version
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = await self._ask(model_id, version)
            while len(self._known) > CACHED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        if (known.manifest_digest, known.signature_digest) != (manifest_digest, signature_digest):
            raise Conflict(
                f"{model_id} {version} has the manifest {known.manifest_digest} here, and {manifest_digest} on the "
                "device: its bundle was exported from another installation, or is not what it was"
            )
        return known

    async def _ask(self, model_id: str, version: str) -> KnownVersion:
        answer = await self._fetch(f"/mlops/models/{model_id}/{version}/manifest")
        if answer is not None and answer.status_code == 404:
            raise NotFound(f"no version {version} of a model {model_id!r} is registered here")
        if answer is None or answer.status_code != 200 or len(answer.content) > MAX_MANIFEST_BYTES:
            raise Unavailable("the registry does not say which features the version has: try again")
        return await asyncio.to_thread(_read, answer.content)


def _read(data: bytes) -> KnownVersion:
    manifest = read_manifest(data)
    canonical = json.dumps(json.loads(data)["signature"], sort_keys=True, separators=(",", ":")).encode()
    return KnownVersion(
        hashlib.sha256(data).hexdigest(), hashlib.sha256(canonical).hexdigest(), manifest.signature, manifest.created_at
    )
