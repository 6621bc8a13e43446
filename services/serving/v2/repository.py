"""`/v2/repository`: Triton's model repository extension, as far as a replica may decide for itself.

What is deployed is the registry's to say; a replica may only put a deployed model out of its memory and take it back.
So `unload` holds until `load`, a new revision of the deployment, or a restart; and a model that is not deployed is not
loaded here, whatever the artifact store holds.
"""

from typing import Any, Literal, Protocol

import msgspec

from schemas.events import LoadedVersion
from services.kernel.errors import Forbidden, InvalidInput, NotBuilt, NotFound
from services.serving.catalog import Catalog
from services.serving.exchange import Exchange
from services.serving.inputs import Malformed
from services.serving.predict_api import Authorize
from services.serving.v2.answers import encode

Aside = Literal["for room", "by hand"]


class Models(Protocol):
    """What the pool tells and does, on the event loop."""

    def report(self) -> tuple[LoadedVersion, ...]:
        """Every wanted version's state."""
        ...

    def aside(self, model_id: str) -> Aside | None:
        """Why a wanted model is deliberately not in memory."""
        ...

    async def load_now(self, model_id: str) -> None:
        """Return when it answers. Raises `NotFound` and `Unavailable`."""
        ...

    async def unload_now(self, model_id: str) -> None:
        """Answer no more requests for it. Raises `NotFound`."""
        ...


class _Line(msgspec.Struct):
    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str = ""


class _IndexRequest(msgspec.Struct):
    ready: bool = False


class _LoadRequest(msgspec.Struct):
    parameters: dict[str, Any] | None = None


_decode_index = msgspec.json.Decoder(_IndexRequest).decode
_decode_load = msgspec.json.Decoder(_LoadRequest).decode


class Repository:
    """The routes over what the pool holds."""

    def __init__(self, models: Models, catalog: Catalog, authorize: Authorize) -> None:
        self._models = models
        self._catalog = catalog
        self._authorize = authorize

    async def index(self, exchange: Exchange) -> None:
        """Every version that is wanted or answers, as far as the caller may read of it. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "read", None)
        body = await exchange.body()
        try:
            only_ready = bool(body) and _decode_index(body).ready
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"not an index request: {error}") from error
        lines = [line for line in self._lines() if line.state == "READY" or not only_ready]
        readable = {name for name in {line.name for line in lines} if self._may_read(exchange, name)}
        await exchange.answer(encode([line for line in lines if line.name in readable]))

    async def load(self, exchange: Exchange, model: str) -> None:
        """Have a deployed model in memory, and answer when it is ready. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "deploy", model)
        for name in await self._parameters(exchange):
            if name == "config" or name.startswith("file:"):
                raise NotBuilt("a model's files and configuration come from its registered version: POST /mlops/models")
        try:
            await self._models.load_now(model)
        except NotFound as error:
            raise _not_deployed(model) from error
        await exchange.answer(b"{}")

    async def unload(self, exchange: Exchange, model: str) -> None:
        """Put a deployed model out of memory. Raises `TrimtabError`."""
        self._authorize(exchange.authorization, "deploy", model)
        await self._parameters(exchange)  # unload_dependents: nothing depends on a model here
        try:
            await self._models.unload_now(model)
        except NotFound as error:
            raise _not_deployed(model) from error
        await exchange.answer(b"{}")

    def answers(self, model: str, version: str | None) -> bool:
        """Whether the next request for the model, or for one version of it, is answered. Raises `NotFound`."""
        deployed = self._catalog.models.get(model)
        if deployed is not None:
            known = {*deployed.versions}
        elif self._models.aside(model) == "for room":
            known = {line.version for line in self._models.report() if line.model_id == model}
        elif model in self._catalog.loading or not self._catalog.known():
            return False
        else:
            raise NotFound(f"no model {model[:128]!r} is deployed here")
        if version is not None and version not in known:
            raise NotFound(
                f"version {version[:64]!r} of {model!r} is not deployed; deployed: {', '.join(sorted(known))}"
            )
        return True

    def _lines(self) -> list[_Line]:
        lines = {(line.model_id, line.version): self._line(line) for line in self._models.report()}
        for model, deployed in self._catalog.models.items():
            for version in deployed.versions:
                if (model, version) not in lines:
                    reason = "answers until the version that is wanted now has loaded"
                    lines[model, version] = _Line(model, version, "READY", reason)
        return [lines[key] for key in sorted(lines)]

    def _line(self, line: LoadedVersion) -> _Line:
        model, version = line.model_id, line.version
        deployed = self._catalog.models.get(model)
        aside = self._models.aside(model)
        if aside == "for room" or (deployed is not None and version in deployed.versions):
            return _Line(model, version, "READY", line.detail)
        if aside == "by hand" or line.state == "failed":
            return _Line(model, version, "UNAVAILABLE", line.detail)
        waits = "it is loaded; other versions of its deployment are not yet"
        return _Line(model, version, "LOADING", waits if line.state == "ready" else line.detail)

    def _may_read(self, exchange: Exchange, model: str) -> bool:
        try:
            self._authorize(exchange.authorization, "read", model)
        except Forbidden:
            return False
        return True

    @staticmethod
    async def _parameters(exchange: Exchange) -> dict[str, Any]:
        body = await exchange.body()
        try:
            return (body and _decode_load(body).parameters) or {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"not a load or unload request: {error}") from error


def _not_deployed(model: str) -> InvalidInput:
    return InvalidInput(f"the model {model[:128]!r} is not deployed: POST /mlops/deploy says what is served")
