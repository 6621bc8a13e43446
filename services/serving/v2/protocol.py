"""The routes under `/v2`. Query parameters mean nothing and are let pass; names in paths may be URL-encoded."""

from collections.abc import Callable
from urllib.parse import unquote

from services.kernel.errors import NotFound
from services.kernel.http.problems import MethodNotAllowed
from services.serving.asking import Asking
from services.serving.exchange import Exchange
from services.serving.inputs import DEFAULT_STRING_BYTES
from services.serving.predict_api import Authorize
from services.serving.v2.infer import Inference
from services.serving.v2.metadata import Metadata
from services.serving.v2.repository import Models, Repository

_MOST_PATHS = 1000


class ProtocolV2:
    """Leads each request to its handler."""

    def __init__(
        self,
        asking: Asking,
        authorize: Authorize,
        models: Models,
        *,
        server_name: str,
        ready: Callable[[], bool],
        open_health: bool = True,
        string_bytes: int = DEFAULT_STRING_BYTES,
    ) -> None:
        self._authorize = authorize
        self._inference = Inference(asking, authorize, string_bytes)
        self._repository = Repository(models, asking.catalog, authorize)
        self._metadata = Metadata(
            asking.catalog, authorize, self._repository, server_name=server_name, ready=ready, open_health=open_health
        )
        self._infer_paths: dict[str, tuple[str, str | None]] = {}

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request under `/v2`. Raises `TrimtabError`."""
        path = exchange.scope["path"]
        known = self._infer_paths.get(path)
        if known is not None and exchange.method == "POST":
            await self._inference.infer(exchange, *known)
            return
        parts = [unquote(part) for part in _raw_path(exchange).strip("/").split("/")]
        metadata = self._metadata
        match (exchange.method, *parts[1:]):
            case ("POST", "models", model, "infer"):
                await self._inference.infer(exchange, model, None)
                self._remember(path, model, None)
            case ("POST", "models", model, "versions", version, "infer"):
                await self._inference.infer(exchange, model, version)
                self._remember(path, model, version)
            case ("GET" | "HEAD", "health", "live"):
                await metadata.live(exchange)
            case ("GET" | "HEAD", "health", "ready"):
                await metadata.ready(exchange)
            case ("GET" | "HEAD",):
                await metadata.server(exchange)
            case ("GET" | "HEAD", "models", "stats"):
                await metadata.statistics(exchange, None, None)
            case ("GET" | "HEAD", "models", model, "stats"):
                await metadata.statistics(exchange, model, None)
            case ("GET" | "HEAD", "models", model, "versions", version, "stats"):
                await metadata.statistics(exchange, model, version)
            case ("GET" | "HEAD", "models", model, "config"):
                await metadata.config(exchange, model, None)
            case ("GET" | "HEAD", "models", model, "versions", version, "config"):
                await metadata.config(exchange, model, version)
            case ("POST", "repository", "index"):
                await self._repository.index(exchange)
            case ("POST", "repository", "models", model, "load"):
                await self._repository.load(exchange, model)
            case ("POST", "repository", "models", model, "unload"):
                await self._repository.unload(exchange, model)
            case ("GET" | "HEAD", "models", model):
                await metadata.model(exchange, model, None)
            case ("GET" | "HEAD", "models", model, "versions", version):
                await metadata.model(exchange, model, version)
            case ("GET" | "HEAD", "models", model, "ready"):
                await metadata.model_ready(exchange, model, None)
            case ("GET" | "HEAD", "models", model, "versions", version, "ready"):
                await metadata.model_ready(exchange, model, version)
            case _:
                self._authorize(exchange.authorization, "read", None)
                if allowed := _methods_of(parts[1:]):
                    raise MethodNotAllowed(exchange.method, path, allowed)
                raise NotFound(f"the protocol has no {exchange.method} {path[:200]}")

    def _remember(self, path: str, model: str, version: str | None) -> None:
        """A path that led to a model need not be taken apart again. Only plain ones, and a bounded number."""
        if "%" not in path and len(self._infer_paths) < _MOST_PATHS:
            self._infer_paths[path] = (model, version)


def _methods_of(parts: list[str]) -> tuple[str, ...]:
    """The methods that a path below `/v2` takes; none for one that the protocol does not have."""
    match parts:
        case (
            ["models", _, "infer"]
            | ["models", _, "versions", _, "infer"]
            | ["repository", "index"]
            | ["repository", "models", _, "load" | "unload"]
        ):
            return ("POST",)
        case (
            []
            | ["health", "live" | "ready"]
            | ["models", _]
            | ["models", _, "ready" | "config" | "stats"]
            | ["models", _, "versions", _]
            | ["models", _, "versions", _, "ready" | "config" | "stats"]
        ):
            return ("GET", "HEAD")
    return ()


def _raw_path(exchange: Exchange) -> str:
    raw: bytes = exchange.scope.get("raw_path") or exchange.scope["path"].encode()
    return raw.decode("latin-1")
