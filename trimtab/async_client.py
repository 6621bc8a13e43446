"""The SDK, asynchronous: the same methods as `Client`, awaited."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from trimtab import calls
from trimtab.calls import Call, Upload
from trimtab.deployment_wait import DeploymentWait
from trimtab.errors import Unavailable
from trimtab.event_stream import EventReader, ServerEvent
from trimtab.job_wait import JobWait
from trimtab.sending import options_of
from trimtab.surface import (
    Surface,
    answer_of,
    authorization,
    base_url,
    refusal,
    unreachable,
    uses_proxies,
)
from trimtab.uploading import Uploader

T = TypeVar("T")


class AsyncClient(Surface[Awaitable[Any]]):
    """A connection to one installation, for one event loop; closed by `close` or `async with`.

    Args:
        url: base URL; none: `TRIMTAB_URL`, else 127.0.0.1 and `TRIMTAB_SERVING_PORT` (3006).
        api_key: none: `TRIMTAB_API_KEY`, if that is set.
        timeout_seconds: of one request.
    """

    def __init__(self, url: str | None = None, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self.url = base_url(url)
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=authorization(api_key),
            timeout=timeout_seconds,
            trust_env=uses_proxies(self.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call) -> Any:
        """Send any call; the JSON of its answer (text where it is not JSON, None where it is empty)."""
        if call.upload is not None:
            return await self._register(call.upload)
        return answer_of(await self._request(call.method, call.path, **options_of(call)))

    async def _register(self, upload: Upload) -> Any:
        """Upload in a thread, with a connection of its own; cancelled, the thread ends at its next block."""
        stop = threading.Event()

        def run() -> Any:
            with httpx.Client(
                base_url=self.url,
                headers=self._http.headers,
                timeout=self._http.timeout,
                trust_env=uses_proxies(self.url),
            ) as http:
                return Uploader(http, self.url, upload, stop).run()

        try:
            return await asyncio.to_thread(run)
        finally:
            stop.set()

    async def follow(self, plan: Generator[Call, Any, Any]) -> Any:
        """What `plan`, run in a thread, returns: it yields call after call, and gets the answer of each."""
        answer: Any = None
        while True:
            call, result = await asyncio.to_thread(_step, plan, answer)
            if call is None:
                return result
            answer = await self.send(call)

    async def prepared(
        self, prepare: Callable[[], AbstractContextManager[T]], send: Callable[[T], Awaitable[Any]]
    ) -> Any:
        """The answer of `send` to what `prepare`, in a thread, yields; it is cleaned up afterwards."""
        with ExitStack() as stack:
            ready = await asyncio.to_thread(lambda: stack.enter_context(prepare()))
            return await send(ready)

    async def over_http(self, work: Callable[[httpx.Client], Any]) -> Any:
        """What `work`, run in a thread, returns; it gets a connection of its own."""

        def run() -> Any:
            with httpx.Client(
                base_url=self.url,
                headers=self._http.headers,
                timeout=self._http.timeout,
                trust_env=uses_proxies(self.url),
            ) as http:
                return work(http)

        return await asyncio.to_thread(run)

    async def _request(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    async def wait_job(
        self,
        job_id: str,
        *,
        timeout_seconds: float = 3600.0,
        poll_seconds: float = 0.5,
        outage_seconds: float = 60.0,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """The job's document once it has ended, however it ended.

        The server may be away for `outage_seconds` at a stretch. Raises `Unfinished` after `timeout_seconds` and
        `Unavailable` after a longer silence; both name the job.
        """
        wait = JobWait(job_id, timeout_seconds, outage_seconds)
        while True:
            try:
                job: dict[str, Any] = await self.job(job_id)
            except Unavailable as error:
                wait.unanswered(error)
            else:
                if on_progress is not None:
                    on_progress(job)
                if wait.ended(job):
                    return job
            await asyncio.sleep(poll_seconds)

    async def wait_deployed(
        self, model_id: str, *, timeout_seconds: float = 60.0, poll_seconds: float = 0.1
    ) -> dict[str, Any]:
        """The model's deployment once every replica serves it, as `deploy` asked.

        Raises `Unfinished`: a replica can't load the version, or the time is over; `Unavailable`: nobody answers.
        """
        wait = DeploymentWait(model_id, timeout_seconds)
        while True:
            try:
                deployment: dict[str, Any] = await self.deployment(model_id)
            except Unavailable as error:
                wait.unanswered(error)
            else:
                if wait.served(deployment):
                    return deployment
            await asyncio.sleep(poll_seconds)

    async def events(
        self, topics: Iterable[str] = (), *, model_id: str | None = None, last_event_id: str | None = None
    ) -> AsyncIterator[ServerEvent]:
        """Events as they happen, for ever. `last_event_id` goes on where another connection broke off."""
        call = calls.events(topics, model_id, last_event_id)
        reader = EventReader()
        try:
            async with self._http.stream(
                call.method,
                call.path,
                **options_of(call),
                timeout=httpx.Timeout(30.0, read=60.0),
            ) as response:
                if response.status_code >= 400:
                    raise refusal(response.status_code, await response.aread(), response.request)
                async for line in response.aiter_lines():
                    event = reader.feed(line)
                    if event is not None:
                        yield event
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error


def _step(plan: Generator[Call, Any, Any], answer: Any) -> tuple[Call | None, Any]:
    """The plan's next call, or (None, what it returned): a StopIteration can't leave a thread."""
    try:
        return plan.send(answer), None
    except StopIteration as ended:
        return None, ended.value
