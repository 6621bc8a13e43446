"""The story, step by step. Every step checks what it did; the first that fails ends it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.kernel.settings import Settings
from trimtab.async_client import AsyncClient
from trimtab.chain import Link, chain_of, read_links
from trimtab.demo.data import Row, Threats
from trimtab.demo.plan import MODEL_ID, Figures, Patience, Plan
from trimtab.demo.telling import Telling
from trimtab.demo.traffic import Answered, Callers, accuracy
from trimtab.demo.watch import Watch, time_of
from trimtab.errors import NotFound, TrimtabError
from trimtab.event_stream import ServerEvent

T = TypeVar("T")

POLL_SECONDS = 0.2
DRIFT_FOUND = "trimtab.drift.found.v1"
PERFORMANCE_WORSE = "trimtab.performance.worse.v1"
LOOP_STEPPED = "trimtab.loop.stepped.v1"
UNHAPPY_ENDS = ("rejected", "rolled_back", "superseded", "failed")
EXPECTED_CHAIN = (
    "trimtab.loop.stepped.v1",
    "trimtab.training.requested.v1",
    "trimtab.job.started.v1",
    "trimtab.job.succeeded.v1",
    "trimtab.model.registered.v1",
    "trimtab.model.promoted.v1",
    "trimtab.deployment.wanted.v1",
)


class Untrue(TrimtabError):
    """A step did not do what the story says."""

    code = "untrue"


def check(so: object, otherwise: str) -> None:
    """Raise `Untrue` with the sentence `otherwise` unless it is so."""
    if not so:
        raise Untrue(otherwise)


class Story:
    """One telling of the story, against the installation at `client`.

    Args:
        client: the public API.
        settings: how to reach Kafka, for the chain of events.
        threats: the job and the traffic.
        tell: who is told.
    """

    def __init__(
        self,
        client: AsyncClient,
        settings: Settings,
        threats: Threats,
        tell: Telling,
        plan: Plan | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.figures = Figures()
        self._client = client
        self._settings = settings
        self._threats = threats
        self._tell = tell
        self._plan = plan or Plan()
        self._patience = patience or Patience()
        self._watch: Watch
        self._callers: Callers
        self._shifted: list[Row] = []
        self._phases: dict[str, list[Answered]] = {}
        self._chain: list[Link] = []
        self._first_shifted_at = datetime.now(UTC)

    async def play(self) -> dict[str, Any]:
        """Play every step; the measured result. Raises `TrimtabError` at the first that fails."""
        async with AsyncExitStack() as stack:
            self._watch = await stack.enter_async_context(Watch(self._client, MODEL_ID, self._on_event))
            await self._step("train", "Train", self._train)
            await self._step("deploy", "Promote and deploy", self._deploy)
            self._callers = await stack.enter_async_context(
                Callers(self._client, MODEL_ID, self._plan.label_delay_seconds)
            )
            await self._step("calm", "Calm traffic", self._calm)
            await self._step("shift", "Shifted traffic", self._shift)
            await self._step("heal", "The loop heals it", self._heal)
            await self._step("after", "Later traffic", self._after)
        await self._step("chain", "The chain of events", self._read_chain)
        return self._result()

    async def _step(self, name: str, title: str, work: Callable[[], Awaitable[tuple[str, dict[str, Any]]]]) -> None:
        self._tell.begin(name, title)
        found, facts = await work()
        self._tell.done(found, facts)

    async def _until(self, what: str, seconds: float, probe: Callable[[], Awaitable[T | None]]) -> T:
        deadline = time.monotonic() + seconds
        while True:
            found = await probe()
            if found is not None:
                return found
            check(time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s")
            await asyncio.sleep(POLL_SECONDS)

    def _on_event(self, event: ServerEvent) -> None:
        data = event.data["data"]
        if event.type == LOOP_STEPPED:
            self._tell.note(f"loop: {data['step']}: {data['explanation']}")
        elif event.type in (DRIFT_FOUND, PERFORMANCE_WORSE) and data["state"] == "raised":
            self._tell.note(f"monitor: {data['explanation']}")

    # the steps

    async def _train(self) -> tuple[str, dict[str, Any]]:
        job = await self._client.submit_job(self._threats.job)
        ended = await self._client.wait_job(
            job["job_id"], timeout_seconds=self._patience.train, poll_seconds=POLL_SECONDS, on_progress=self._on_job
        )
        check(ended["state"] == "succeeded", f"the job {job['job_id']} {ended['state']}: {ended.get('detail')}")
        model = await self._until("the registration of the trained model", self._patience.deploy, self._model)
        version = model["versions"][0]
        check(version["stage"] == "draft", f"version {version['version']} is in {version['stage']}, not draft")
        check(version["metrics"].get("accuracy", 0) > 0.9, f"the metrics are {version['metrics']}")
        check(version["hyperparameters"], "the version has no hyper-parameters")
        check(version["lineage"]["dataset_digest"], "the version does not name its dataset's digest")
        check(version["has_baseline"], "the version has no drift baseline")
        check(len(version["signature"]["inputs"]) == 41, "the version does not take the 41 raw features")
        self.figures.champion = version["version"]
        accuracy_there = version["metrics"]["accuracy"]
        found = (
            f"{MODEL_ID} {version['version']} is a draft, accuracy {accuracy_there:.4f} on rows held out of training"
        )
        return found, {"job_id": job["job_id"], "version": version["version"], "metrics": version["metrics"]}

    def _on_job(self, job: dict[str, Any]) -> None:
        progress = job.get("progress") or {}
        epoch = f", epoch {progress['epoch']} of {progress['epochs']}" if progress else ""
        self._tell.progress(f"{job['job_id']} {job['state']}{epoch}")

    async def _model(self) -> dict[str, Any] | None:
        try:
            model: dict[str, Any] = await self._client.model(MODEL_ID)
        except NotFound:
            return None
        return model if model["versions"] else None

    async def _deploy(self) -> tuple[str, dict[str, Any]]:
        version = str(self.figures.champion)
        for stage in ("staging", "production"):
            await self._client.promote(MODEL_ID, version, stage, comment="the demo's first version")
        wanted = await self._client.deploy(MODEL_ID, version, reason="the demo's first version")
        deployed = await self._until("the deployment", self._patience.deploy, self._converged)
        row, truth = self._threats.calm[0]
        answer = await self._client.predict(MODEL_ID, row)
        check(answer["version"] == version, f"version {answer['version']} answered, not {version}")
        check(answer["prediction_id"], "the answer has no prediction id")
        total = sum(answer["probabilities"].values())
        check(abs(total - 1) < 1e-3, f"the probabilities add up to {total}")
        batch = await self._client.predict_batch(MODEL_ID, [row for row, _ in self._threats.calm[:3]])
        check(len(batch["predictions"]) == 3, f"three rows got {len(batch['predictions'])} answers")
        stage = (await self._client.version(MODEL_ID, version))["stage"]
        check(stage == "production", f"version {version} is in {stage}")
        found = f"{version} is in production and answers: {answer['prediction']} (truth {truth})"
        return found, {"revision": wanted["revision"], "replicas": len(deployed["replicas"])}

    async def _converged(self) -> dict[str, Any] | None:
        deployment: dict[str, Any] = await self._client.deployment(MODEL_ID)
        return deployment if deployment["converged"] and deployment["replicas"] else None

    async def _calm(self) -> tuple[str, dict[str, Any]]:
        plan = self._plan
        rows = self._threats.calm[3:]
        for row in rows[: plan.single_requests]:
            await self._callers.one(row)
        await self._send(rows[plan.single_requests :], "calm rows")
        self._phases["calm"] = list(self._callers.answers)

        async def judged() -> dict[str, Any] | None:
            report: dict[str, Any] = await self._client.drift(MODEL_ID)
            self._tell.progress(f"{len(report['history'])} windows judged")
            return report if len(report["history"]) >= plan.calm_windows else None

        report = await self._until(f"the judgement of {plan.calm_windows} windows", self._patience.calm, judged)
        signals = [event for event in self._watch.events if event.data["topic"] == "drift-signals"]
        said = "; ".join(str(event.data["data"].get("explanation")) for event in signals)
        check(not signals, f"the monitor signalled on calm traffic: {said}")
        self.figures.accuracy_before = accuracy(self._phases["calm"])
        judged_rows = sum(window["rows"] for window in report["history"])
        found = (
            f"{len(self._phases['calm'])} rows, accuracy {self.figures.accuracy_before:.4f}; "
            f"{len(report['history'])} windows judged, no signal"
        )
        return found, {"windows": len(report["history"]), "judged_rows": judged_rows}

    async def _shift(self) -> tuple[str, dict[str, Any]]:
        self._shifted = list(self._threats.shifted)
        self._first_shifted_at = datetime.now(UTC)
        deadline = time.monotonic() + self._patience.signal
        sent = 0
        drift: ServerEvent | None = None
        worse: ServerEvent | None = None
        while drift is None or worse is None:
            if sent < self._plan.ahead_rows:
                await self._send(self._take(10 * self._plan.batch_rows), f"shifted rows, {sent} before")
                sent = len(self._threats.shifted) - len(self._shifted)
            else:
                await asyncio.sleep(POLL_SECONDS)
            drift, worse = self._watch.first(DRIFT_FOUND), self._watch.first(PERFORMANCE_WORSE)
            missing = "a drift signal" if drift is None else "a signal of worse performance"
            check(time.monotonic() < deadline, f"{missing} did not come within {self._patience.signal:g} s")
        signalled_at = min(time_of(drift), time_of(worse))
        self.figures.seconds_to_signal = (signalled_at - self._first_shifted_at).total_seconds()
        features = [score["feature"] for score in drift.data["data"]["features"] if score["drifted"]]
        check(features, "the drift signal names no feature")
        self.figures.drifted_features = features
        fall = worse.data["data"]
        check(fall["value"] < fall["baseline_value"], f"worse performance, but {fall['value']} is not less")
        found = (
            f"after {self.figures.seconds_to_signal:.1f} s drift in {len(features)} features "
            f"({', '.join(features[:3])}, ...) and accuracy {fall['value']:.3f} instead of {fall['baseline_value']:.3f}"
        )
        return found, {"features": features, "accuracy": fall["value"], "baseline": fall["baseline_value"]}

    async def _heal(self) -> tuple[str, dict[str, Any]]:
        deadline = time.monotonic() + self._patience.heal
        while (end := self._end_of_cycle()) is None:
            sent = len(self._threats.shifted) - len(self._shifted)
            steps = [e.data["data"]["step"] for e in self._watch.events if e.type == LOOP_STEPPED]
            self._tell.progress(f"{steps[-1] if steps else 'waiting'}, {sent} shifted rows so far")
            if sent < self._plan.ahead_rows and "training" not in steps:
                await self._send(self._take(5 * self._plan.batch_rows), "shifted rows")
            else:
                if len(self._shifted) > self._plan.after_rows:
                    await self._callers.many(self._take(self._plan.trickle_rows))
                await asyncio.sleep(self._plan.trickle_pause_seconds if "canary" in steps else POLL_SECONDS)
            check(time.monotonic() < deadline, f"the loop did not end its cycle within {self._patience.heal:g} s")
        data = end.data["data"]
        check(data["step"] == "promoted", f"the loop ended in {data['step']}: {data['explanation']}")
        self.figures.challenger = data["challenger_version"]
        self.figures.seconds_to_healed = (time_of(end) - self._first_shifted_at).total_seconds()
        shifted = self._callers.answers[len(self._phases["calm"]) :]
        self._phases["shifted"] = [answer for answer in shifted if answer.version == self.figures.champion]
        self.figures.accuracy_during = accuracy(self._phases["shifted"])
        version = await self._client.version(MODEL_ID, str(self.figures.challenger))
        check(version["stage"] == "production", f"the challenger is in {version['stage']}")
        deployment = await self._client.deployment(MODEL_ID)
        served = [route["version"] for route in deployment["routes"]]
        check(served == [self.figures.challenger], f"the traffic goes to {served}")
        seconds = self.figures.seconds_to_healed
        found = f"{self.figures.challenger} is in production {seconds:.1f} s after the first shifted row"
        return found, {"challenger": self.figures.challenger, "shifted_rows": len(shifted)}

    def _end_of_cycle(self) -> ServerEvent | None:
        for step in ("promoted", *UNHAPPY_ENDS):
            event = self._watch.first(LOOP_STEPPED, step=step)
            if event is not None:
                return event
        return None

    async def _after(self) -> tuple[str, dict[str, Any]]:
        before = len(self._callers.answers)
        check(len(self._shifted) >= self._plan.after_rows, f"only {len(self._shifted)} unseen rows are left")
        await self._send(self._take(len(self._shifted)), "unseen rows")
        self._phases["after"] = self._callers.answers[before:]
        versions = {answer.version for answer in self._phases["after"]}
        check(versions == {self.figures.challenger}, f"the later rows were answered by {versions}")
        self.figures.accuracy_after = accuracy(self._phases["after"])
        assert self.figures.accuracy_during is not None, "measured by the step before"
        gain = self.figures.accuracy_after - self.figures.accuracy_during
        check(
            gain >= self._plan.least_gain, f"accuracy only went from {self.figures.accuracy_during:.4f} by {gain:.4f}"
        )
        found = (
            f"{len(self._phases['after'])} rows that no model was trained on, accuracy "
            f"{self.figures.accuracy_after:.4f} (was {self.figures.accuracy_during:.4f})"
        )
        return found, {"rows": len(self._phases["after"]), "accuracy": self.figures.accuracy_after}

    async def _read_chain(self) -> tuple[str, dict[str, Any]]:
        links = await read_links(self._settings, MODEL_ID)
        chain = chain_of(links, str(self.figures.challenger))
        types = [link.type for link in chain]
        missing = [type_name for type_name in EXPECTED_CHAIN if type_name not in types]
        check(not missing, f"the topics hold no {', '.join(missing)} for {self.figures.challenger}")
        signals = {DRIFT_FOUND, PERFORMANCE_WORSE} & set(types)
        check(signals, "the chain does not reach back to a signal of the monitor")
        caused = [link for link in chain if link.causation_id]
        self._chain = chain
        return f"{len(chain)} events, from the monitor's signal to the rollout", {"caused": len(caused)}

    # sending

    def _take(self, count: int) -> list[Row]:
        rows, self._shifted = self._shifted[:count], self._shifted[count:]
        return rows

    async def _send(self, rows: list[Row], what: str) -> None:
        size = self._plan.batch_rows
        for start in range(0, len(rows), size):
            await self._callers.many(rows[start : start + size])
            self._tell.progress(f"{min(start + size, len(rows))} of {len(rows)} {what}")

    def _result(self) -> dict[str, Any]:
        figures = self.figures
        measured = {
            "before": ("calm", figures.champion, figures.accuracy_before),
            "during": ("shifted", figures.champion, figures.accuracy_during),
            "after": ("after", figures.challenger, figures.accuracy_after),
        }
        names = {"before": "before: calm", "during": "during: shifted", "after": "after: shifted, unseen"}
        return {
            "ok": True,
            "champion": figures.champion,
            "challenger": figures.challenger,
            "accuracy_before": figures.accuracy_before,
            "accuracy_during": figures.accuracy_during,
            "accuracy_after": figures.accuracy_after,
            "seconds_to_signal": figures.seconds_to_signal,
            "seconds_to_healed": figures.seconds_to_healed,
            "drifted_features": figures.drifted_features,
            "requests": self._callers.requests,
            "labels": self._callers.labelled,
            "table": [
                {
                    "traffic": names[name],
                    "rows": len(self._phases[phase]),
                    "answered_by": version,
                    "accuracy": value,
                }
                for name, (phase, version, value) in measured.items()
            ],
            "events": [link.to_json() for link in self._chain],
        }
