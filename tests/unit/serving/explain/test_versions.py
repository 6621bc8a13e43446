"""Which version is meant."""

from datetime import UTC, datetime

import httpx
import pytest

from schemas.events import DeploymentWanted, Route
from services.kernel.errors import Conflict, NotFound, Unavailable
from services.serving.explain.versions import VersionBook
from services.serving.model import VersionRef

DIGEST = "ab" * 32


def recorded(version: str, dropped: str | None = None) -> dict[str, object]:
    times = {"registered_at": "2026-01-01T00:00:00Z", "bytes_dropped_at": dropped}
    return {"version": version, "artifact": f"models/m/{version}", "manifest_digest": DIGEST, "stage": "draft", **times}


PAGES: dict[str, object] = {
    "/mlops/models/m?limit=1": {"versions": [recorded("3.0.0")], "production_version": "2.0.0"},
    "/mlops/models/m?limit=2": {"versions": [recorded("3.0.0"), recorded("2.0.0")], "production_version": "2.0.0"},
    "/mlops/models/m/2.0.0": recorded("2.0.0"),
    "/mlops/models/m/%40champion": recorded("1.0.0"),
    "/mlops/models/m/0.1.0": recorded("0.1.0", "2026-02-01T00:00:00Z"),
    "/mlops/models/empty?limit=1": {"versions": [], "production_version": None},
}


async def registry(service: str, path: str) -> httpx.Response | None:
    """What the registry says."""
    assert service == "registry"
    if path not in PAGES:
        return httpx.Response(404, json={"detail": f"nothing at {path}"})
    return httpx.Response(200, json=PAGES[path])


async def nobody(service: str, path: str) -> httpx.Response | None:
    """A registry that is down."""
    return None


def deployed(model_id: str) -> DeploymentWanted | None:
    def route(name: str, version: str, weight: float) -> Route:
        return Route(name=name, version=version, weight=weight, artifact=f"models/m/{version}", manifest_digest=DIGEST)

    routes = (route("canary", "5.0.0", 10), route("main", "4.0.0", 90))
    return DeploymentWanted(
        model_id="m", revision=1, routes=routes, shadow=route("shadow", "6.0.0", 0), since=datetime.now(UTC)
    )


async def test_what_is_deployed_needs_no_registry() -> None:
    book = VersionBook(nobody, deployed)
    assert (await book.find("m", None)).version == "4.0.0"
    assert await book.find("m", "5.0.0") == VersionRef("m", "5.0.0", "models/m/5.0.0", DIGEST)
    assert (await book.find("m", "6.0.0")).version == "6.0.0"
    with pytest.raises(Unavailable, match="registry does not answer"):
        await book.find("m", "2.0.0")


async def test_else_production_or_the_named_one() -> None:
    book = VersionBook(registry, lambda model_id: None)
    assert (await book.find("m", None)).version == "2.0.0"
    assert (await book.find("m", "@champion")).version == "1.0.0"
    assert [one.version for one in await book.newest("m", 2)] == ["2.0.0", "3.0.0"]


async def test_what_is_not_there_is_told_in_the_registrys_words() -> None:
    book = VersionBook(registry, lambda model_id: None)
    with pytest.raises(NotFound, match="nothing at"):
        await book.find("m", "9.9.9")
    with pytest.raises(NotFound, match="has no version"):
        await book.find("empty", None)
    with pytest.raises(NotFound, match="%2F"):
        await book.find("../keys", "1.0.0")
    with pytest.raises(Conflict, match="retention"):
        await book.find("m", "0.1.0")
