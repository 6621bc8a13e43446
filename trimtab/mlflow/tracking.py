"""A client of a running MLflow tracking server: the few calls of its REST API 2.0 that finding a model takes.

Source: https://mlflow.org/docs/latest/rest-api.html, and what MLflow 3.17 answers.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, quote, urlsplit

import httpx

from services.kernel.errors import Forbidden, InvalidInput, NotFound, TrimtabError, Unauthenticated, Unavailable
from trimtab.mlflow.budget import Budget
from trimtab.surface import uses_proxies

Json = dict[str, Any]

MAX_ANSWER_BYTES = 8 << 20
"""Size of one JSON answer."""
SILENCE_SECONDS = 60.0
"""How long the server may be silent within one answer."""

_MAX_REFUSAL_BYTES = 64 << 10


class Tracking:
    """One tracking server. No redirect is followed: what is sent to it, credentials too, goes to it alone.

    Args:
        uri: of the server; none: `MLFLOW_TRACKING_URI`. Who asks is told as to MLflow's own client, by
            `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or by `MLFLOW_TRACKING_TOKEN`.
    """

    def __init__(self, uri: str | None = None) -> None:
        url = _checked(uri or os.environ.get("MLFLOW_TRACKING_URI"))
        self.uri = url.geturl().rstrip("/")
        self.host = url.netloc
        self._http = httpx.Client(
            base_url=f"{self.uri}/api/2.0/",
            auth=_basic(),
            headers={"Accept-Encoding": "identity", **_bearer()},
            timeout=SILENCE_SECONDS,
            follow_redirects=False,
            trust_env=uses_proxies(self.uri),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def version(self, name: str, version: str) -> Json:
        """A registered version. Raises `NotFound`."""
        return self._member("mlflow/model-versions/get", "model_version", name=name, version=version)

    def alias(self, name: str, alias: str) -> Json:
        """The registered version that an alias names. Raises `NotFound`."""
        try:
            return self._member("mlflow/registered-models/alias", "model_version", name=name, alias=alias)
        except InvalidInput as error:  # so MLflow 3 answers for an alias that is not there
            raise NotFound(error.detail) from error

    def download_uri(self, name: str, version: str) -> str:
        """Where the files of a registered version lie."""
        answer = self.get("mlflow/model-versions/get-download-uri", name=name, version=version)
        return str(answer.get("artifact_uri", ""))

    def logged_model(self, model_id: str) -> Json:
        """A logged model: `info` and `data`. Raises `NotFound`."""
        return self._member(f"mlflow/logged-models/{quote(model_id, safe='')}", "model")

    def run(self, run_id: str) -> Json:
        """A run: `info`, `data`, `inputs` and `outputs`. Raises `NotFound`."""
        return self._member("mlflow/runs/get", "run", run_id=run_id)

    def get(self, path: str, /, **query: str) -> Json:
        """The JSON object at `path` of the API."""
        budget = Budget(max_bytes=MAX_ANSWER_BYTES, max_seconds=SILENCE_SECONDS)
        with self.open(path, budget, **query) as blocks:
            data = b"".join(blocks)
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._stranger(path)
        return document

    @contextmanager
    def open(self, path: str, budget: Budget, /, **query: str) -> Iterator[Iterator[bytes]]:
        """The bytes at `path` of the API, block by block, each taken from the budget."""
        try:
            with self._http.stream("GET", path, params=query) as response:
                if response.status_code != 200:
                    raise self._refusal(response)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise Unavailable(f"{self.uri} packs what was asked for unpacked")
                yield _counted(response, budget)
        except httpx.TimeoutException as error:
            raise Unavailable(f"the MLflow server {self.uri} did not answer in time") from error
        except httpx.ConnectError as error:
            raise Unavailable(
                f"no MLflow server answers at {self.uri}: start it (mlflow server), or give the right --tracking-uri"
            ) from error
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the connection to the MLflow server {self.uri} broke ({type(error).__name__})"
            ) from error

    def _member(self, path: str, member: str, /, **query: str) -> Json:
        found = self.get(path, **query).get(member)
        if not isinstance(found, dict):
            raise self._stranger(path)
        return found

    def _stranger(self, path: str) -> TrimtabError:
        return InvalidInput(f"what answers at {self.uri} for {path} is no MLflow server: give the right --tracking-uri")

    def _refusal(self, response: httpx.Response) -> TrimtabError:
        status = response.status_code
        if response.is_redirect:
            target = urlsplit(response.headers.get("location", "")).netloc or "another path"
            return InvalidInput(f"{self.uri} sends callers to {target}: give that server as the tracking URI")
        if status == 401:
            return Unauthenticated(
                f"the MLflow server {self.uri} wants to know who asks: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        said = _words(response)
        if status == 403:
            return Forbidden(f"the MLflow server {self.uri} refuses this to the user that asks: {said}")
        if status >= 500:
            return Unavailable(f"the MLflow server {self.uri} answered {status}: {said}")
        kind = NotFound if status == 404 else InvalidInput
        return kind(f"the MLflow server {self.uri} says: {said}")


def _counted(response: httpx.Response, budget: Budget) -> Iterator[bytes]:
    for block in response.iter_raw():
        budget.take(len(block))
        yield block


def _words(response: httpx.Response) -> str:
    """What the server says about a refusal, in one short line."""
    data = b""
    for block in response.iter_raw():
        data += block
        if len(data) > _MAX_REFUSAL_BYTES:
            break
    try:
        message = json.loads(data)["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        message = f"{response.status_code} {response.reason_phrase}"
    return " ".join(str(message).split())[:300]


def _checked(uri: str | None) -> SplitResult:
    """The server's URL. Raises `InvalidInput` with what to give instead."""
    if not uri:
        raise InvalidInput("which MLflow server? Give --tracking-uri (tracking_uri=), or set MLFLOW_TRACKING_URI")
    url = urlsplit(uri)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidInput(
            f"a model is fetched from a running MLflow server by http or https, not from {url.scheme or 'a folder'}: "
            "start one over that store (mlflow server --backend-store-uri ...), or give the model's folder itself"
        )
    if url.username is not None or url.query or url.fragment:
        raise InvalidInput(
            "the tracking URI is scheme, host, port and path alone; who asks is told by MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or by MLFLOW_TRACKING_TOKEN"
        )
    return url


def _basic() -> tuple[str, str] | None:
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return (user, password) if user and password else None


def _bearer() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token and _basic() is None else {}
