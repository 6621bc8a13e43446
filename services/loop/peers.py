"""The HTTP calls that the loop makes: to the registry (stages, deployments) and to the monitor (labelled rows)."""

from datetime import datetime
from typing import Any

import httpx

from schemas.envelope import Envelope
from schemas.events import DeploymentWanted
from services.kernel import causation
from services.kernel.errors import Conflict, InvalidInput, Unavailable
from services.loop.settings import LoopSettings


class Refused(Conflict):
    """The other service understood and said no; trying again will not help."""

    code = "refused"


class Outdated(Refused):
    """The deployment is no longer at the revision that the loop wanted to replace."""

    code = "outdated"


class Peers:
    """A client of the registry and the monitor. Every change carries an Idempotency-Key, so a repeat is harmless."""

    def __init__(self, settings: LoopSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` carries the calls another way than over the network."""
        key = settings.internal_key.get_secret_value() if settings.internal_key else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(timeout=30.0, headers=headers, transport=transport)
        self._registry = settings.url_of("registry")
        self._monitor = settings.url_of("monitor")

    async def start(self) -> None:
        """Nothing to do: connections are made when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def labelled_rows(
        self, model_id: str, *, version: str, since: datetime, min_rows: int, limit: int
    ) -> dict[str, Any]:
        """Ask for a dataset of labelled predictions: `{dataset, digest, rows}`; no dataset below `min_rows`."""
        body = {
            "since": since.isoformat(),
            "version": version,
            "labelled_only": True,
            "min_rows": min_rows,
            "limit": limit,
        }
        return await self._post(f"{self._monitor}/mlops/models/{model_id}/predictions/export", body)

    async def stage_of(self, model_id: str, version: str) -> str:
        """The version's stage."""
        found = await self._send("GET", f"{self._registry}/mlops/models/{model_id}/{version}")
        return str(found["stage"])

    async def promote(
        self, model_id: str, version: str, stage: str, comment: str, key: str, cause: Envelope | None
    ) -> None:
        """Move a version to `stage`; a version that is there already stays."""
        if await self.stage_of(model_id, version) == stage:
            return
        url = f"{self._registry}/mlops/models/{model_id}/{version}/promote"
        await self._post(url, {"stage": stage, "comment": comment}, key, cause)

    async def unmet_gates(self, model_id: str, version: str, stage: str) -> dict[str, str]:
        """The gates of the model's policy that still stand between a version and a stage: name -> sentence."""
        found = await self._send(
            "GET", f"{self._registry}/mlops/models/{model_id}/{version}/gates", params={"stage": stage}
        )
        return {str(gate["gate"]): str(gate["says"]) for gate in found["gates"] if not gate["met"]}

    async def ask_approval(
        self, model_id: str, version: str, stage: str, comment: str, key: str, cause: Envelope | None
    ) -> None:
        """Ask people to let a version into `stage`; the registry tells them."""
        url = f"{self._registry}/mlops/models/{model_id}/{version}/approvals"
        await self._post(url, {"stage": stage, "decision": "ask", "comment": comment}, key, cause)

    async def deployment(self, model_id: str) -> DeploymentWanted:
        """What the registry wants to be served now."""
        found = await self._send("GET", f"{self._registry}/mlops/deployments/{model_id}")
        return DeploymentWanted.model_validate(found)

    async def deploy(
        self,
        model_id: str,
        version: str,
        *,
        replaces: int,
        canary: float | None,
        reason: str,
        key: str,
        cause: Envelope | None,
    ) -> int:
        """Route traffic to a version, all of it or `canary` percent. Returns the deployment's revision.

        Raises `Outdated` unless the present revision is `replaces`. That number is part of the Idempotency-Key, since
        it is part of the request.
        """
        body: dict[str, Any] = {"model_id": model_id, "version": version, "reason": reason}
        if canary is not None:
            body["canary"] = canary
        url = f"{self._registry}/mlops/deploy"
        answer = await self._post(url, body, f"{key}-{replaces}", cause, {"If-Match": f'"{replaces}"'})
        return int(answer["revision"])

    async def _post(
        self,
        url: str,
        body: dict[str, Any],
        key: str | None = None,
        cause: Envelope | None = None,
        conditions: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        headers = dict(conditions or {})
        if key is not None:
            headers["Idempotency-Key"] = key
        if cause is not None:
            headers[causation.HEADER] = causation.to_header(cause)
        return await self._send("POST", url, json=body, headers=headers)

    async def _send(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            response = await self._client.request(method, url, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"{url} does not answer: {error!r}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise Unavailable(f"{url} answered {response.status_code}: {response.text[:300]}")
        if response.status_code == 412:
            raise Outdated(f"{url} answered 412: {response.text[:300]}")
        if response.status_code >= 400:
            raise Refused(f"{url} answered {response.status_code}: {_said(response)}")
        document = response.json()
        if not isinstance(document, dict):
            raise InvalidInput(f"{url} did not answer with an object")
        return document


def _said(response: httpx.Response) -> str:
    """The sentence of a problem document, or the beginning of what else was answered."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:300]
