"""The ASGI application of the public port: predictions here, everything else handed on.

No framework on these paths. What is not a prediction goes to `rest`, an ordinary application (the gateway).
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from services.kernel.errors import TrimtabError
from services.kernel.http.problems import MethodNotAllowed
from services.serving.exchange import Encode, Exchange, Gate, HungUp
from services.serving.predict_api import PredictApi, encode_problem
from services.serving.v2 import ProtocolV2, encode_error

Handler = Callable[[Exchange], Awaitable[None]]


class DataPlane:
    """Dispatches the hot paths."""

    def __init__(
        self,
        predict_api: PredictApi,
        protocol_v2: ProtocolV2,
        explain: Handler,
        gate: Gate,
        rest: ASGIApp,
        more: Mapping[str, Handler] | None = None,
    ) -> None:
        """`more`: further paths that take POST, with their handlers."""
        self._posts: dict[str, Handler] = {
            "/mlops/predict": predict_api.predict,
            "/mlops/predict/batch": predict_api.predict_batch,
            "/mlops/explain": explain,
            **(more or {}),
        }
        self._v2 = protocol_v2.handle
        self._gate = gate
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith("/v2") and (len(path) == 3 or path[3] == "/"):
                await self._run(self._v2, encode_error, Exchange(scope, receive, send, self._gate), True)
                return
            handler = self._posts.get(path)
            if handler is not None:
                if scope["method"] != "POST":
                    handler = _only_posts
                await self._run(handler, encode_problem, Exchange(scope, receive, send, self._gate), False)
                return
        await self._rest(scope, receive, send)

    async def _run(self, handler: Handler, encode: Encode, exchange: Exchange, any_content: bool) -> None:
        try:
            exchange.check(any_content=any_content)
            await handler(exchange)
        except TrimtabError as error:
            await exchange.refuse(error, encode)
        except HungUp:
            return
        if exchange.after is not None:
            exchange.after()


async def _only_posts(exchange: Exchange) -> None:
    raise MethodNotAllowed(exchange.method, exchange.scope["path"], ["POST"])
