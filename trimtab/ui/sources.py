"""What the page asks the services, with the reader's own key, all at once."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import httpx

from trimtab import calls
from trimtab.calls import Call
from trimtab.errors import NotFound, TrimtabError
from trimtab.surface import answer_of, unreachable
from trimtab.ui.settings import UiSettings


@dataclass(frozen=True)
class Fetched:
    """A service's answer, or why there is none."""

    data: dict[str, Any] | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ModelFacts:
    """All that the services say about one model; `missing` answers are no problem (never deployed, no baseline)."""

    model_id: str
    model: Fetched
    deployment: Fetched
    drift: Fetched
    loop: Fetched


@dataclass(frozen=True)
class Facts:
    """All that the services say."""

    models: Fetched
    details: list[ModelFacts]
    jobs: Fetched
    services: dict[str, str | None]


class Sources:
    """The services, as the page sees them."""

    def __init__(self, settings: UiSettings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http

    async def read(self, authorization: str | None) -> Facts:
        """Ask everybody; a silent service becomes a `problem`, never an error."""
        headers = {"Authorization": authorization} if authorization else {}

        def ask(service: str, call: Call) -> Awaitable[Fetched]:
            return self._ask(service, call, headers)

        models, jobs, services = await asyncio.gather(
            ask("registry", calls.models()), self._jobs(headers), self._readiness()
        )
        ids = [model["model_id"] for model in (models.data or {}).get("models", [])][: self._settings.ui_models]
        details = await asyncio.gather(*(self._details(model_id, headers) for model_id in ids))
        return Facts(models, list(details), jobs, services)

    async def _details(self, model_id: str, headers: dict[str, str]) -> ModelFacts:
        model, deployment, drift, loop = await asyncio.gather(
            self._ask("registry", calls.model(model_id), headers),
            self._ask("registry", calls.deployment(model_id), headers),
            self._ask("monitor", calls.drift(model_id), headers),
            self._ask("loop", calls.loop_status(model_id), headers),
        )
        return ModelFacts(model_id, model, deployment, drift, loop)

    async def _jobs(self, headers: dict[str, str]) -> Fetched:
        found = await self._ask("trainer", calls.jobs(), headers)
        if found.data is None:
            return found
        newest = found.data["jobs"][:8]
        running = [job["job_id"] for job in newest if job["state"] == "running"]
        fetched = await asyncio.gather(*(self._ask("trainer", calls.job(job_id), headers) for job_id in running))
        in_full = {answer.data["job_id"]: answer.data for answer in fetched if answer.data is not None}
        return Fetched({"jobs": [in_full.get(job["job_id"], job) for job in newest]})

    async def _readiness(self) -> dict[str, str | None]:
        names = [name for name in ("registry", "trainer", "monitor", "tuner", "loop", "serving")]
        return dict(zip(names, await asyncio.gather(*map(self._ready, names)), strict=True))

    async def _ready(self, service: str) -> str | None:
        url = self._settings.url_of(service)
        try:
            answer = await self._http.get(f"{url}/readyz")
        except httpx.HTTPError:
            return f"does not answer at {url}"
        if answer.status_code == 200:
            return None
        try:
            waiting = answer.json().get("waiting_for", [])
        except ValueError:
            waiting = []
        return f"is not ready: {', '.join(map(str, waiting)) or answer.status_code}"

    async def _ask(self, service: str, call: Call, headers: dict[str, str]) -> Fetched:
        url = self._settings.url_of(service)
        try:
            response = await self._http.request(call.method, url + call.path, params=dict(call.query), headers=headers)
            return Fetched(answer_of(response))
        except NotFound:
            return Fetched()
        except httpx.HTTPError as error:
            return Fetched(problem=f"the {service} service: {unreachable(url, error).detail}")
        except TrimtabError as error:
            return Fetched(problem=f"the {service} service: {error.detail}")
