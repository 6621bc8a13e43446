"""Waiting for a deployment: until it answers, until it can't, until the time is over."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.trimtab.installation import Installation, running
from trimtab import AsyncClient, Client
from trimtab.errors import Unavailable, Unfinished
from trimtab.local.ports import free_ports


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


def deployment(converged: bool = False, **replica: Any) -> dict[str, Any]:
    """What the registry says about revision 3, with one replica."""
    known = {"replica": "serving-1", "state": "behind", "versions": [], **replica}
    return {"model_id": "m", "revision": 3, "converged": converged, "replicas": [known] if replica else []}


async def waited(installation: Installation, use_async: bool, timeout_seconds: float = 0.0) -> Any:
    """The answer of either client."""
    if use_async:
        async with AsyncClient(installation.url) as later:
            return await later.wait_deployed("m", timeout_seconds=timeout_seconds, poll_seconds=0.01)
    with Client(installation.url) as client:
        return client.wait_deployed("m", timeout_seconds=timeout_seconds, poll_seconds=0.01)


@pytest.mark.parametrize("use_async", [False, True])
async def test_it_ends_when_every_replica_serves_it(installation: Installation, use_async: bool) -> None:
    wanted = deployment(converged=True, state="converged")
    installation.answer("GET", "/mlops/deployments/m", wanted)
    assert await waited(installation, use_async) == wanted


@pytest.mark.parametrize("use_async", [False, True])
async def test_a_version_that_can_not_be_loaded_ends_it_with_the_reason(
    installation: Installation, use_async: bool
) -> None:
    failed = {"version": "1.0.0", "state": "failed", "detail": "the graph is damaged"}
    installation.answer("GET", "/mlops/deployments/m", deployment(state="failed", versions=[failed]))
    with pytest.raises(Unfinished, match=r"serving-1 can't load m 1\.0\.0: the graph is damaged"):
        await waited(installation, use_async, timeout_seconds=60)


@pytest.mark.parametrize(
    ("replica", "sentence"), [({"state": "behind"}, "serving-1 is behind"), ({}, "no replica has been heard of")]
)
async def test_the_time_is_over(installation: Installation, replica: dict[str, Any], sentence: str) -> None:
    installation.answer("GET", "/mlops/deployments/m", deployment(**replica))
    with pytest.raises(Unfinished, match=f"revision 3 of m is not served after 0.02 s: {sentence}"):
        await waited(installation, False, timeout_seconds=0.02)


@pytest.mark.parametrize("use_async", [False, True])
async def test_silence_is_told_in_the_end(use_async: bool) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="no word of the deployment of m"):
        await waited(Installation(url=f"http://127.0.0.1:{port}"), use_async, timeout_seconds=0.02)
