"""The SDK, synchronous.

from trimtab import Client

with Client() as client:
    client.predict("threat-classifier", {"duration": 0, "protocol_type": "tcp", ...})
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from trimtab import calls
from trimtab.calls import Call
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


class Client(Surface[Any]):
    """A connection to one installation; safe to share between threads, closed by `close` or `with`.

    Args:
        url: base URL; none: `TRIMTAB_URL`, else 127.0.0.1 and `TRIMTAB_SERVING_PORT` (3006).
        api_key: none: `TRIMTAB_API_KEY`, if that is set.
        timeout_seconds: of one request.
    """

    def __init__(self, url: str | None = None, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self.url = base_url(url)
        self._http = httpx.Client(
            base_url=self.url,
            headers=authorization(api_key),
            timeout=timeout_seconds,
            trust_env=uses_proxies(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call) -> Any:
        """Send any call; the JSON of its answer (text where it is not JSON, None where it is empty)."""
        if call.upload is not None:
            return Uploader(self._http, self.url, call.upload).run()
        return answer_of(self._request(call.method, call.path, **options_of(call)))

    def follow(self, plan: Generator[Call, Any, Any]) -> Any:
        """What `plan` returns: it yields call after call, and gets the answer of each."""
        try:
            call = next(plan)
            while True:
                call = plan.send(self.send(call))
        except StopIteration as ended:
            return ended.value

    def prepared(self, prepare: Callable[[], AbstractContextManager[T]], send: Callable[[T], Any]) -> Any:
        """The answer of `send` to what `prepare` yields, which is cleaned up afterwards."""
        with prepare() as ready:
            return send(ready)

    def over_http(self, work: Callable[[httpx.Client], Any]) -> Any:
        """What `work` returns; it gets the connection."""
        return work(self._http)

    def _request(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def wait_job(
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
                job: dict[str, Any] = self.job(job_id)
            except Unavailable as error:
                wait.unanswered(error)
            else:
                if on_progress is not None:
                    on_progress(job)
                if wait.ended(job):
                    return job
            time.sleep(poll_seconds)

    def wait_deployed(
        self, model_id: str, *, timeout_seconds: float = 60.0, poll_seconds: float = 0.1
    ) -> dict[str, Any]:
        """The model's deployment once every replica serves it, as `deploy` asked.

        Raises `Unfinished`: a replica can't load the version, or the time is over; `Unavailable`: nobody answers.
        """
        wait = DeploymentWait(model_id, timeout_seconds)
        while True:
            try:
                deployment: dict[str, Any] = self.deployment(model_id)
            except Unavailable as error:
                wait.unanswered(error)
            else:
                if wait.served(deployment):
                    return deployment
            time.sleep(poll_seconds)

    def events(
        self, topics: Iterable[str] = (), *, model_id: str | None = None, last_event_id: str | None = None
    ) -> Iterator[ServerEvent]:
        """Events as they happen, for ever. `last_event_id` goes on where another connection broke off."""
        call = calls.events(topics, model_id, last_event_id)
        reader = EventReader()
        try:
            with self._http.stream(
                call.method,
                call.path,
                **options_of(call),
                timeout=httpx.Timeout(30.0, read=60.0),
            ) as response:
                if response.status_code >= 400:
                    raise refusal(response.status_code, response.read(), response.request)
                for line in response.iter_lines():
                    event = reader.feed(line)
                    if event is not None:
                        yield event
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
