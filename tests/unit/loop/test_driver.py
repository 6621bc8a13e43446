"""The driver on a real database: who may deploy, what ends a cycle, and which signals are remembered.

The registry and the monitor are written out here, as far as the loop asks them; tests/integration has the real ones.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from schemas.base import Message
from schemas.commands import TrainingCancelled
from schemas.envelope import Envelope
from schemas.events import (
    Alert,
    ApiKeyGranted,
    Comparison,
    DeploymentWanted,
    DriftFound,
    DriftOver,
    JobFailed,
    LoopStep,
    LoopStepped,
    ReplicaStatus,
    Route,
    SignalState,
    Window,
)
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.topics import topic_of
from services.kernel.auth import fingerprint
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.tables import outbox
from services.kernel.uow import UnitOfWork, Work
from services.loop import tables
from services.loop.app import build
from services.loop.cycle import champion_of, open_cycle, step
from services.loop.driver import Driver
from services.loop.handlers import handlers
from services.loop.peers import Outdated, Peers, Refused
from services.loop.policy import polling_pause_seconds
from services.loop.settings import LoopSettings
from services.loop.tables import Cycle

MODEL = "m"
CHAMPION, CHALLENGER = "1.0.1", "1.0.2"
JOB = TrainingJob(model_type=MODEL, dataset_config=DatasetConfig(train_path="t.csv"))
COMPARISON = Comparison(
    rows=200,
    dataset_digest="d",
    champion_version=CHAMPION,
    champion_accuracy=0.5,
    challenger_accuracy=0.7,
    both_correct=100,
    only_champion=0,
    only_challenger=40,
    neither=60,
)


def wanted(revision: int, actor: str, reason: str = "", **weights: float) -> DeploymentWanted:
    """A deployment; `v1=80, v2=20` are the champion's and the challenger's weights."""
    versions = {"v1": CHAMPION, "v2": CHALLENGER, "v3": "1.0.3"}
    routes = tuple(
        Route(name=name, version=versions[name], weight=weight, artifact="a", manifest_digest="d")
        for name, weight in weights.items()
    )
    return DeploymentWanted(
        model_id=MODEL, revision=revision, routes=routes, actor=actor, reason=reason, since=datetime.now(UTC)
    )


class Neighbours(Peers):
    """A registry with one deployment, which refuses what `refuses` names, and a monitor without labels."""

    def __init__(self, settings: LoopSettings) -> None:
        super().__init__(settings)
        self.present = wanted(1, "ada", v1=100)
        self.promoted: list[tuple[str, str]] = []
        self.refuses: set[str] = set()
        self.exports = 0
        self.redacted: list[str] = []
        self.unmet: dict[str, dict[str, str]] = {}
        self.asked: list[tuple[str, str, str]] = []

    async def unmet_gates(self, model_id: str, version: str, stage: str) -> dict[str, str]:
        return self.unmet.get(stage, {})

    async def ask_approval(
        self, model_id: str, version: str, stage: str, comment: str, key: str, cause: Envelope | None
    ) -> None:
        self.asked.append((version, stage, key))

    async def deployment(self, model_id: str) -> DeploymentWanted:
        return self.present

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
        if replaces != self.present.revision:
            raise Outdated("412")
        if version in self.refuses:
            raise Refused(f"{version} may not be deployed")
        name, other = ("v1", "v2") if version == CHAMPION else ("v2", "v1")
        weights = {name: 100.0} if canary is None else {name: canary, other: 100.0 - canary}
        self.present = wanted(replaces + 1, "trimtab", reason, **weights)
        if "after" in self.refuses:
            raise Refused("the answer was lost, and now the key is void")
        return self.present.revision

    async def promote(
        self, model_id: str, version: str, stage: str, comment: str, key: str, cause: Envelope | None
    ) -> None:
        if stage in self.refuses:
            raise Refused(f"{version} cannot move to {stage} yet")
        self.promoted.append((version, stage))

    async def labelled_rows(
        self, model_id: str, *, version: str, since: datetime, min_rows: int, limit: int
    ) -> dict[str, Any]:
        self.exports += 1
        return {"dataset": None, "rows": 0, "redacted": self.redacted}


class Stage:
    """A loop without a bus: its database, its driver and its handlers."""

    def __init__(self, db: Database, folder: Path, **settings: float) -> None:
        self.settings = LoopSettings(data_dir=folder, **settings)  # type: ignore[arg-type]
        self.work = Work(db, "loop")
        self.peers = Neighbours(self.settings)
        self.driver = Driver(self.settings, self.work, self.peers)

    async def hear(self, *messages: Message) -> None:
        """Handle messages, each in its transaction."""
        known = handlers(self.settings)
        for message in messages:
            await self.work.run(lambda uow, message=message: known[type(message)](message, uow))  # type: ignore[misc]

    async def begin(self) -> None:
        """The champion serves, and the job that made it is known."""

        def prepare(uow: UnitOfWork) -> None:
            tables.save_job(uow.connection, "job-0", JOB)
            tables.save_version(uow.connection, MODEL, CHAMPION, "job-0")

        await self.work.run(prepare)
        await self.hear(self.peers.present)

    async def at(self, *path: LoopStep, **columns: Any) -> Cycle:
        """A cycle that has come along `path`."""
        await self.begin()
        await self.work.run(lambda uow: open_cycle(uow, MODEL, uow.now(), "drift"))
        for each in path:
            cycle = await self.cycle()
            await self.work.run(lambda uow, c=cycle, to=each: step(uow, c, to, "so", cooldown_seconds=0))  # type: ignore[misc]
        columns = {"job_id": "job-1", "comparison": COMPARISON.model_dump_json()} | columns
        cycle = await self.cycle()
        await self.work.run(lambda uow: tables.update_cycle(uow.connection, cycle.cycle_id, **columns))
        return await self.cycle()

    async def at_canary(self, **columns: Any) -> Cycle:
        """A cycle whose canary the driver has just deployed."""
        await self.at(*TO_PROVING, challenger_version=CHALLENGER, **columns)
        await self.ticks(2)
        cycle = await self.cycle()
        assert (cycle.step, cycle.deployment_revision) == (LoopStep.CANARY, 2)
        return cycle

    async def at_rollout(self) -> Cycle:
        """A cycle at ROLLING_OUT, revision 3, whose replica serves it."""
        cycle = await self.at_canary()
        revision = await self.peers.deploy(
            MODEL, CHALLENGER, replaces=2, canary=None, reason=self.peers.present.reason, key="k", cause=None
        )
        await self.work.run(
            lambda uow: step(uow, cycle, LoopStep.ROLLING_OUT, "so", cooldown_seconds=0, deployment_revision=revision)
        )
        return await self.cycle()

    async def converge(self) -> None:
        """A replica serves the newest revision."""
        now = datetime.now(UTC)
        status = {"replica": "r", "incarnation": "i", "url": "u", "at": now}
        await self.hear(ReplicaStatus(**status, converged={MODEL: self.peers.present.revision}))

    async def ticks(self, times: int = 1) -> None:
        """Let the driver look `times` times."""
        for _ in range(times):
            await self.driver.tick()

    async def older(self, seconds: float) -> None:
        """The present step began `seconds` earlier."""
        cycle = await self.cycle()
        earlier = cycle.step_at.timestamp() - seconds
        await self.work.run(lambda uow: tables.update_cycle(uow.connection, cycle.cycle_id, step_at=earlier))

    async def cycle(self) -> Cycle:
        """The newest cycle."""
        return (await self.cycles())[0]

    async def cycles(self) -> list[Cycle]:
        """Every cycle, newest first."""

        def read(connection: sa.Connection) -> list[Cycle]:
            found = [tables.cycle_by_id(connection, c["cycle_id"]) for c in tables.history(connection, MODEL, 10)]
            return [cycle for cycle in found if cycle is not None]

        return await self.work.db.read(read)

    async def explanation(self) -> str:
        """Why the newest cycle is where it is."""
        found = await self.work.db.read(lambda connection: tables.history(connection, MODEL, 1))
        return str(found[0]["steps"][-1]["explanation"])

    async def published(self, kind: type[Message]) -> list[str]:
        """The bodies published to a message type's topic."""
        topic = topic_of(kind).name
        query = sa.select(outbox.c.body).where(outbox.c.topic == topic)
        rows = await self.work.db.read(lambda connection: list(connection.execute(query).scalars()))
        return [bytes(body).decode() for body in rows]

    async def cooldown_seconds(self) -> float:
        """How long the model still cools down."""
        row = await self.work.db.read(lambda connection: tables.model_row(connection, MODEL))
        return float(row.cooldown_until or 0) - datetime.now(UTC).timestamp() if row else 0.0


TO_PROVING = (LoopStep.GATHERING, LoopStep.TRAINING, LoopStep.PROVING)
Make = Callable[..., Stage]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(**settings)`: a loop on a fresh database."""
    db = Database(f"sqlite:///{tmp_path / 'loop.db'}", "loop")
    migrate(db, "services.loop.migrations")
    yield lambda **settings: Stage(db, tmp_path, **settings)
    db.close()


def drift(version: str = CHAMPION, signal_id: str = "s1") -> DriftFound:
    """A drift signal."""
    window = Window(start=datetime.now(UTC) - timedelta(hours=1), end=datetime.now(UTC), rows=100)
    return DriftFound(
        signal_id=signal_id,
        model_id=MODEL,
        version=version,
        state=SignalState.RAISED,
        window=window,
        baseline_rows=500,
        features=(),
        judged_features=2,
        explanation="duration: PSI 0.41",
        first_window=window,
    )


# whose deployment it is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "found by If-Match"])
async def test_a_persons_deployment_during_the_canary_is_left_alone(make: Make, announced: bool) -> None:
    stage = make(loop_canary_max_seconds=60)
    await stage.at_canary()
    stage.peers.present = theirs = wanted(3, "grace", "mine", v3=100)
    if announced:
        await stage.hear(theirs)
    else:
        await stage.older(61)  # the gate fails: the loop would roll back
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.SUPERSEDED
    assert "grace deployed revision 3" in await stage.explanation()
    assert stage.peers.present == theirs
    assert stage.peers.promoted == [(CHALLENGER, "staging")]


async def test_the_challenger_is_not_promoted_over_a_persons_deployment(make: Make) -> None:
    stage = make()
    await stage.at_rollout()
    await stage.converge()
    stage.peers.present = wanted(4, "grace", v1=100)
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.SUPERSEDED
    assert (CHALLENGER, "production") not in stage.peers.promoted


async def test_without_a_persons_deployment_it_is_promoted(make: Make) -> None:
    stage = make()
    await stage.at_rollout()
    await stage.converge()
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.PROMOTED
    assert stage.peers.promoted[-1] == (CHALLENGER, "production")


async def test_no_canary_beside_another_champion(make: Make) -> None:
    stage = make()
    await stage.at(*TO_PROVING, challenger_version=CHALLENGER)
    stage.peers.present = wanted(2, "grace", v3=100)
    await stage.ticks(2)
    assert (await stage.cycle()).step is LoopStep.SUPERSEDED
    assert stage.peers.promoted == []


async def test_an_own_deployment_of_an_interrupted_try_is_not_a_persons(make: Make) -> None:
    stage = make(loop_canary_max_seconds=60)
    await stage.at_canary()
    stage.peers.present = wanted(3, "trimtab", stage.peers.present.reason, v2=100)
    await stage.hear(stage.peers.present)
    await stage.older(61)
    await stage.ticks(2)
    assert (await stage.cycle()).step is LoopStep.ROLLED_BACK
    assert champion_of(stage.peers.present) == wanted(4, "", v1=100).routes[0]


# giving up --------------------------------------------------------------------------------------------------------


async def test_a_refusal_at_the_canary_restores_the_champion(make: Make) -> None:
    stage = make(loop_canary_seconds=0, loop_canary_requests=1)
    cycle = await stage.at_rollout()
    await stage.work.run(lambda uow: tables.update_cycle(uow.connection, cycle.cycle_id, step="canary"))
    await stage.hear(
        ReplicaStatus.model_validate(
            {
                "replica": "r",
                "incarnation": "i",
                "url": "u",
                "at": datetime.now(UTC),
                "versions": [
                    {
                        "model_id": MODEL,
                        "version": CHALLENGER,
                        "state": "ready",
                        "since": datetime.now(UTC),
                        "requests": 9,
                    }
                ],
            }
        )
    )
    stage.peers.refuses = {CHALLENGER}
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.ROLLED_BACK
    assert [route.version for route in stage.peers.present.routes] == [CHAMPION]


async def test_a_refused_rollback_stays_and_tells_a_person_once(make: Make) -> None:
    stage = make(loop_canary_max_seconds=60)
    await stage.at_canary()
    await stage.older(61)
    stage.peers.refuses = {CHAMPION}
    await stage.ticks()
    another = Driver(stage.settings, stage.work, stage.peers)
    await another.tick()
    assert (await stage.cycle()).step is LoopStep.CANARY
    (told,) = await stage.published(Alert)
    assert '"raised"' in told
    assert "could not be restored" in told
    stage.peers.refuses = set()
    await Driver(stage.settings, stage.work, stage.peers).tick()
    assert (await stage.cycle()).step is LoopStep.ROLLED_BACK
    assert '"resolved"' in (await stage.published(Alert))[1]


async def test_a_canary_that_took_effect_unseen_is_rolled_back(make: Make) -> None:
    stage = make()
    await stage.at(*TO_PROVING, challenger_version=CHALLENGER)
    await stage.ticks()
    stage.peers.refuses = {"after"}
    await stage.ticks()
    stage.peers.refuses = {CHALLENGER}
    await stage.ticks(2)
    assert (await stage.cycle()).step is LoopStep.ROLLED_BACK
    assert [route.version for route in stage.peers.present.routes] == [CHAMPION]


async def test_a_refused_canary_that_never_served_has_failed(make: Make) -> None:
    stage = make()
    await stage.at(*TO_PROVING, challenger_version=CHALLENGER)
    stage.peers.refuses = {CHALLENGER}
    await stage.ticks(2)
    assert (await stage.cycle()).step is LoopStep.FAILED


# the registry's policy --------------------------------------------------------------------------------------------


async def test_a_challenger_gets_no_traffic_before_its_gates_are_met(make: Make) -> None:
    stage = make(loop_tick_seconds=0.001)
    cycle = await stage.at(*TO_PROVING, challenger_version=CHALLENGER)
    stage.peers.unmet = {"production": {"approvals": "1 approval is needed, none were given"}}
    await stage.ticks(2)
    assert (await stage.cycle()).step is LoopStep.PROVING
    assert stage.peers.asked == [(CHALLENGER, "production", f"{cycle.cycle_id}-ask-production")]
    assert (stage.peers.promoted, stage.peers.present.revision) == ([], 1)
    await stage.ticks(5)
    assert len(set(stage.peers.asked)) == 1, "asked under one Idempotency-Key, however often it looks"
    stage.peers.unmet = {}
    await Driver(stage.settings, stage.work, stage.peers).tick()
    assert (await stage.cycle()).step is LoopStep.CANARY


async def test_gates_that_stay_unmet_are_not_looked_at_all_the_time(make: Make) -> None:
    stage = make(loop_approval_seconds=10_000)
    await stage.at(*TO_PROVING, challenger_version=CHALLENGER)
    stage.peers.unmet = {"staging": {"check bias": "the check bias has no result yet"}}
    await stage.older(1000)
    await stage.ticks(100)
    assert len(stage.peers.asked) == 1, "a tenth of the wait so far passes before the next look"


@pytest.mark.parametrize(
    ("gate", "seconds", "says"),
    [("rejections", 0, "was rejected"), ("approvals", 61, "did not pass the policy's gates within 60 s")],
)
async def test_a_challenger_that_is_not_let_through_ends_the_cycle(
    make: Make, gate: str, seconds: int, says: str
) -> None:
    stage = make(loop_approval_seconds=60, loop_cooldown_seconds=100)
    await stage.at(*TO_PROVING, challenger_version=CHALLENGER)
    stage.peers.unmet = {"production": {gate: "bob says no"}}
    await stage.older(seconds)
    await stage.ticks(2)
    assert (await stage.cycle()).step is LoopStep.FAILED
    assert says in await stage.explanation()
    assert "bob says no" in await stage.explanation()
    assert (stage.peers.promoted, stage.peers.present.revision) == ([], 1)
    assert await stage.cooldown_seconds() > 90, "the next cycle does not follow at once"


async def test_a_gate_that_closes_during_the_rollout_brings_the_champion_back(make: Make) -> None:
    stage = make(loop_cooldown_seconds=100)
    await stage.at_rollout()
    await stage.converge()
    stage.peers.refuses = {"production"}
    await stage.ticks(3)
    assert (await stage.cycle()).step is LoopStep.ROLLED_BACK
    assert "cannot move to production yet" in await stage.explanation()
    assert [route.version for route in stage.peers.present.routes] == [CHAMPION]
    assert await stage.cooldown_seconds() > 90


# limits -----------------------------------------------------------------------------------------------------------


async def test_a_challenger_that_is_never_registered_fails_the_cycle(make: Make) -> None:
    stage = make(loop_register_seconds=60)
    await stage.at(*TO_PROVING)
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.PROVING
    await stage.older(61)
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.FAILED
    assert "did not register" in await stage.explanation()


async def test_a_rollout_that_never_converges_is_rolled_back(make: Make) -> None:
    stage = make(loop_rollout_seconds=60)
    await stage.at_rollout()
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.ROLLING_OUT
    await stage.older(61)
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.ROLLED_BACK
    assert [route.version for route in stage.peers.present.routes] == [CHAMPION]


async def test_a_training_that_takes_too_long_is_cancelled(make: Make) -> None:
    stage = make(loop_train_seconds=60, loop_cooldown_seconds=100)
    await stage.at(*TO_PROVING[:2])
    await stage.older(61)
    await stage.ticks()
    assert (await stage.cycle()).step is LoopStep.FAILED
    (command,) = await stage.published(TrainingCancelled)
    assert '"job-1"' in command
    assert await stage.cooldown_seconds() > 90


# steps and signals ------------------------------------------------------------------------------------------------


async def test_of_two_loops_one_makes_the_step(make: Make) -> None:
    stage = make()
    cycle = await stage.at()
    before = len(await stage.published(LoopStepped))

    def move(uow: UnitOfWork) -> bool:
        return step(uow, cycle, LoopStep.GATHERING, "so", cooldown_seconds=0)

    assert [await stage.work.run(move), await stage.work.run(move)] == [True, False]
    assert len(await stage.published(LoopStepped)) == before + 1


async def test_a_second_cycle_is_not_added(make: Make) -> None:
    stage = make()
    cycle = await stage.at()
    assert not await stage.work.run(lambda uow: tables.add_cycle(uow.connection, cycle))


async def test_a_cycle_that_a_handler_ends_cools_down(make: Make) -> None:
    stage = make(loop_cooldown_seconds=100)
    cycle = await stage.at(*TO_PROVING[:2])
    await stage.hear(JobFailed(job_id="job-1", model_id=MODEL, error="lost", detail="gone", cycle_id=cycle.cycle_id))
    assert (await stage.cycle()).step is LoopStep.FAILED
    assert await stage.cooldown_seconds() > 90


async def test_a_signal_in_the_cool_down_is_considered_when_it_ends(make: Make) -> None:
    stage = make()
    await stage.begin()
    await stage.work.run(lambda uow: tables.start_cooldown(uow.connection, MODEL, 100, uow.now()))
    await stage.hear(drift())
    await stage.ticks()
    assert await stage.cycles() == []
    await stage.work.run(lambda uow: tables.start_cooldown(uow.connection, MODEL, -1, uow.now()))
    await stage.ticks()
    (cycle,) = await stage.cycles()
    assert cycle.champion_version == CHAMPION
    assert cycle.since < datetime.now(UTC) - timedelta(minutes=59)


@pytest.mark.parametrize("meanwhile", ["nothing", "over", "another signal over", "another version"])
async def test_a_signal_in_a_pause_is_considered_on_resume_unless_it_is_over(make: Make, meanwhile: str) -> None:
    stage = make()
    await stage.begin()
    await stage.work.run(lambda uow: tables.set_paused(uow.connection, MODEL, True))
    await stage.hear(drift())
    if "over" in meanwhile:
        found = drift(signal_id="s1" if meanwhile == "over" else "s0")
        over = {"signal_id": found.signal_id, "model_id": MODEL, "version": CHAMPION, "explanation": "calm"}
        await stage.hear(DriftOver(**over, window=found.window))
    if meanwhile == "another version":
        await stage.hear(wanted(2, "grace", v3=100))
    await stage.ticks()
    assert await stage.cycles() == []
    await stage.work.run(lambda uow: tables.set_paused(uow.connection, MODEL, False))
    await stage.ticks()
    assert len(await stage.cycles()) == (1 if meanwhile in ("nothing", "another signal over") else 0)


async def test_labels_are_asked_for_with_a_growing_pause(make: Make) -> None:
    stage = make(loop_tick_seconds=5)
    await stage.at(LoopStep.GATHERING)
    await stage.ticks(3)
    assert stage.peers.exports == 1
    assert [polling_pause_seconds(waited, 0.5) for waited in (0, 20, 1000)] == [0.5, 2, 10]


async def test_what_is_redacted_in_the_log_is_not_trained_on(make: Make) -> None:
    stage = make()
    await stage.at(LoopStep.GATHERING)
    stage.peers.redacted = ["src_bytes", "user"]
    await stage.ticks()
    (cycle,) = await stage.cycles()
    assert cycle.step is LoopStep.FAILED
    assert "src_bytes, user redacted" in await stage.explanation()
    assert any('"redacted":["src_bytes","user"]' in body for body in await stage.published(LoopStepped))


async def test_a_key_sees_its_own_models_only(make: Make, tmp_path: Path) -> None:
    make()  # migrates the database that the service reads
    service = build(LoopSettings(data_dir=tmp_path, auth="keys"))
    grant = {"key_id": "k", "name": "ada", "sha256": fingerprint("secret"), "scopes": ("read",)}
    service.access._apply("k", ApiKeyGranted(**grant, model_prefixes=("a-",)), None)
    for model_id in ("a-one", "b-one"):
        await service.work.run(lambda uow, m=model_id: tables.set_paused(uow.connection, m, False))  # type: ignore[misc]
    assert service.app is not None
    transport = httpx.ASGITransport(service.app)
    headers = {"Authorization": "Bearer secret"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        answer = await client.get("/mlops/loop")
    service.db.close()
    assert [model["model_id"] for model in answer.json()["models"]] == ["a-one"]
