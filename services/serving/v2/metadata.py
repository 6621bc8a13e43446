"""What the server and its models say of themselves: health, metadata, readiness."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from schemas.features import Feature
from services.kernel.errors import Unavailable
from services.serving.catalog import Catalog
from services.serving.exchange import Exchange
from services.serving.predict_api import Authorize
from services.serving.v2.answers import encode

EXTENSIONS = ["binary_tensor_data"]


class Metadata:
    """The routes that only describe."""

    def __init__(
        self,
        catalog: Catalog,
        authorize: Authorize,
        *,
        server_name: str,
        ready: Callable[[], bool],
        open_health: bool,
    ) -> None:
        self._catalog = catalog
        self._authorize = authorize
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
        self._authorize(exchange.authorization, "read", model)
        deployed = self._catalog.deployed(model)
        signature = self._catalog.choose(model, version, "").served.signature
        document = {
            "name": model,
            "versions": sorted(deployed.versions),
            "platform": "onnx_onnxv1",
            "inputs": [_described(feature) for feature in signature.inputs],
            "outputs": [{"name": o.name, "datatype": o.dtype.v2, "shape": [-1, *o.shape]} for o in signature.outputs],
            "parameters": {"classes": signature.classes} if signature.classes else {},
        }
        await exchange.answer(encode(document))

    async def model_ready(self, exchange: Exchange, model: str, version: str | None) -> None:
        """200 when the model answers, 503 while it does not. Raises `NotFound`."""
        self._authorize(exchange.authorization, "read", model)
        try:
            self._catalog.choose(model, version, "")
            ready = True
        except Unavailable:
            ready = False
        await exchange.answer(encode({"name": model, "ready": ready}), status=200 if ready else 503)


def _described(feature: Feature) -> dict[str, object]:
    return {"name": feature.name, "datatype": feature.dtype.v2, "shape": [-1, *(feature.shape or (1,))]}
