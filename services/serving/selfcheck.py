"""Every version in memory is run with its sample from time to time, so that one that has gone bad is noticed before a
caller does.

A check runs in a thread between two batches. It is no prediction: nothing is logged or counted. A version that fails
several times in a row is reported as failed and loaded anew, at once and then after twice as many failures each time; a
check that succeeds makes it ready again. Its routes stay: it may fail its sample and answer others.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.kernel.errors import Failed, TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.serving.catalog import Catalog
from services.serving.model import VersionRef, VersionState
from services.serving.nursery import Nursery
from services.serving.residents import Residents
from services.serving.served import ServedVersion

log = get_logger(__name__)


class _NoAnswer(Failed):
    """The sample's run did not come back in time."""


@dataclass
class Health:
    """What the checks of one version found. `reload_at` is the number of failures at which it is loaded anew."""

    reload_at: int
    failures: int = 0
    healthy: bool = True


class SelfCheck:
    """Checks what `residents` hold, every `interval_seconds` (0: never). Lives on the event loop."""

    def __init__(
        self,
        residents: Residents,
        catalog: Catalog,
        nursery: Nursery,
        *,
        failures: int,
        limit_seconds: float,
    ) -> None:
        self.on_change: Callable[[], None] = _nobody_listens
        self.interval_seconds = 0.0
        self.checks = 0
        self.failed_checks = 0
        self._residents = residents
        self._catalog = catalog
        self._nursery = nursery
        self._failures = failures
        self._limit_seconds = limit_seconds
        self._health: dict[VersionRef, Health] = {}
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Begin to check."""
        self._nursery.spawn(self._run(), "self-check")

    def every(self, seconds: float) -> None:
        """Check every `seconds` from now on; 0: not at all."""
        if seconds != self.interval_seconds:
            self.interval_seconds = seconds
            self._changed.set()

    def healthy(self, ref: VersionRef) -> bool:
        """Whether a version has not failed too often of late; one that has not been checked yet has not."""
        health = self._health.get(ref)
        return health is None or health.healthy

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(self.interval_seconds or None):
                    await self._changed.wait()
            except TimeoutError:
                await self.check_all()

    async def check_all(self) -> None:
        """Check every version in memory, one after the other."""
        there = self._residents.items()
        self._health = {ref: self._health[ref] for ref, _ in there if ref in self._health}
        for ref, served in there:
            health = self._health.setdefault(ref, Health(self._failures))
            trouble = await self._trouble_with(served)
            if self._residents.get(ref) is not served:
                continue  # let go or loaded anew meanwhile
            if trouble is None:
                self._succeeded(ref, served, health)
            else:
                await self._failed(ref, served, health, trouble)

    async def _trouble_with(self, served: ServedVersion) -> TrimtabError | None:
        self.checks += 1
        try:
            async with asyncio.timeout(self._limit_seconds):
                await served.check()
        except TimeoutError:
            return _NoAnswer(f"no answer to its sample within {self._limit_seconds:g} s")
        except (Failed, Unavailable) as error:
            return error
        return None

    def _succeeded(self, ref: VersionRef, served: ServedVersion, health: Health) -> None:
        if not health.healthy:
            log.info("version_recovered", model_id=ref.model_id, version=ref.version, after_failures=health.failures)
            self._residents.note_ready(ref, served)
            self.on_change()
        self._health[ref] = Health(self._failures)

    async def _failed(self, ref: VersionRef, served: ServedVersion, health: Health, trouble: TrimtabError) -> None:
        self.failed_checks += 1
        health.failures += 1
        log.warning(
            "self_check_failed",
            model_id=ref.model_id,
            version=ref.version,
            failures=health.failures,
            error=trouble.detail,
        )
        if health.failures < self._failures:
            return
        if health.healthy:
            health.healthy = False
            detail = f"failed {health.failures} self-checks in a row: {trouble.detail}"
            self._residents.note(ref, VersionState("failed", datetime.now(UTC), detail))
            self.on_change()
        if health.failures >= health.reload_at:
            health.reload_at *= 2
            await self._renew(ref, served, health, trouble)

    async def _renew(self, ref: VersionRef, old: ServedVersion, health: Health, trouble: TrimtabError) -> None:
        try:
            new = await self._residents.renewed(ref)
        except TrimtabError:
            return  # it was logged; the old one stays, and the next failures try again
        for deployed in self._catalog.models.values():
            for number, served in deployed.versions.items():
                if served is old:
                    deployed.versions[number] = new
        if isinstance(trouble, _NoAnswer):
            old.batcher.give_up(Unavailable("the version did not answer its self-check and was loaded anew; try again"))
        log.info("version_renewed", model_id=ref.model_id, version=ref.version)
        if self._residents.get(ref) is new and await self._trouble_with(new) is None:
            self._succeeded(ref, new, health)


def _nobody_listens() -> None:
    """No reporter yet."""
