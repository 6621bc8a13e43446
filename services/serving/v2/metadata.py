"""What the server and its models say of themselves: health, metadata, readiness, configuration and statistics."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from schemas.features import Feature
from services.kernel.errors import Forbidden, NotFound
from services.serving.catalog import Catalog, Deployed
from services.serving.exchange import Exchange
from services.serving.predict_api import Authorize
from services.serving.served import ServedVersion
from services.serving.v2.answers import encode
from services.serving.v2.config import config_of, platform_of
from services.serving.v2.repository import Repository
from services.serving.v2.statistics import statistics_of

EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
]


class Metadata:
    """The routes that only describe."""

    def __init__(
        self,
        catalog: Catalog,
        authorize: Authorize,
        repository: Repository,
        *,
        server_name: str,
        ready: Callable[[], bool],
        open_health: bool,
    ) -> None:
        self._catalog = catalog
        self._authorize = authorize
        self._repository = repository
        self._server_name = server_name
        self._ready = ready
        self._open_health = open_health

    async def live(self, exchange: Exchange) -> None:
        """200 as long as the process answers. Both keys are in the body: kserve's client reads them."""
        self._health_key(exchange)
        await exchange.answer(encode({"live": True, "ready": self._ready()}))

    async def ready(self, exchange: Exchange) -> None:
        """200 when every wanted model answers, else 503."""
        self._health_key(exchange)
        ready = self._ready()
        await exchange.answer(encode({"live": True, "ready": ready}), status=200 if ready else 503)

    def _health_key(self, exchange: Exchange) -> None:
        if not self._open_health:
            self._authorize(exchange.authorization, "read", None)

    async def server(self, exchange: Exchange) -> None:
        """Name, version and extensions."""
        self._authorize(exchange.authorization, "read", None)
        try:
            release = version("trimtab")
        except PackageNotFoundError:
            release = "0"
        await exchange.answer(encode({"name": self._server_name, "version": release, "extensions": EXTENSIONS}))

    async def model(self, exchange: Exchange, model: str, version: str | None) -> None:
        """Inputs and outputs. Raises `TrimtabError`."""
        deployed, served = await self._found(exchange, model, version)
        signature = served.signature
        document = {
            "name": model,
            "versions": sorted(deployed.versions),
            "platform": platform_of(served)[0],
            "inputs": [_described(feature) for feature in signature.inputs],
            "outputs": [{"name": o.name, "datatype": o.dtype.v2, "shape": [-1, *o.shape]} for o in signature.outputs],
            "parameters": {"classes": signature.classes} if signature.classes else {},
        }
        await exchange.answer(encode(document))

    async def config(self, exchange: Exchange, model: str, version: str | None) -> None:
        """The configuration. Raises `TrimtabError`."""
        deployed, served = await self._found(exchange, model, version)
        await exchange.answer(encode(config_of(served, sorted(deployed.versions))))

    async def statistics(self, exchange: Exchange, model: str | None, version: str | None) -> None:
        """Statistics of one version, of a model's versions, or of all that the caller may read. Raises `TrimtabError`.

        Nothing is loaded for it: what is not in memory has counted nothing.
        """
        if model is None:
            self._authorize(exchange.authorization, "read", None)
            models = [name for name in sorted(self._catalog.models) if self._may_read(exchange, name)]
            found = [served for name in models for served in self._catalog.models[name].versions.values()]
        else:
            self._authorize(exchange.authorization, "read", model)
            deployed = self._catalog.deployed(model)
            found = list(deployed.versions.values()) if version is None else [_version_of(deployed, version)]
        await exchange.answer(encode({"model_stats": [statistics_of(served) for served in found]}))

    def _may_read(self, exchange: Exchange, model: str) -> bool:
        try:
            self._authorize(exchange.authorization, "read", model)
        except Forbidden:
            return False
        return True

    async def _found(self, exchange: Exchange, model: str, version: str | None) -> tuple[Deployed, ServedVersion]:
        """The deployment and the version that is described, loaded if it had been unloaded to make room."""
        self._authorize(exchange.authorization, "read", model)
        if model not in self._catalog.models:
            await self._catalog.bring(model)
        deployed = self._catalog.deployed(model)
        return deployed, _version_of(deployed, version)

    async def model_ready(self, exchange: Exchange, model: str, version: str | None) -> None:
        """200 when the model answers, 503 while it does not. Raises `NotFound`."""
        self._authorize(exchange.authorization, "read", model)
        ready = self._repository.answers(model, version)
        await exchange.answer(encode({"name": model, "ready": ready}), status=200 if ready else 503)


def _version_of(deployed: Deployed, version: str | None) -> ServedVersion:
    """The version, or one that the routes lead to. To describe a model is not to use it: unlike `Catalog.choose` this
    does not keep it in memory. Raises `NotFound`."""
    if version is None:
        return deployed.versions[deployed.plan.choose("", 0.0).version]
    served = deployed.versions.get(version)
    if served is None:
        there = ", ".join(sorted(deployed.versions))
        raise NotFound(f"version {version[:64]!r} of this model is not deployed; deployed: {there}")
    return served


def _described(feature: Feature) -> dict[str, object]:
    return {"name": feature.name, "datatype": feature.dtype.v2, "shape": [-1, *(feature.shape or (1,))]}
