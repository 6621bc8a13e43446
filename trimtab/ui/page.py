"""What the page shows, made from what the services said. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trimtab.ui.drift_view import DriftView, drift_view
from trimtab.ui.sources import Facts, ModelFacts
from trimtab.ui.traffic import Traffic

STEPS_SHOWN = 12
VERSIONS_SHOWN = 6


@dataclass(frozen=True)
class StepView:
    """One step of the loop."""

    at: str
    cycle_id: str
    step: str
    explanation: str


@dataclass(frozen=True)
class ModelView:
    """One model's part of the page."""

    model_id: str
    name: str
    versions: list[dict[str, Any]]
    more_versions: int
    deployment: dict[str, Any] | None
    traffic: Traffic | None
    drift: DriftView | None
    loop: dict[str, Any] | None
    steps: list[StepView]
    problems: list[str]


@dataclass(frozen=True)
class Page:
    """The whole page. `at` is when its facts were asked for."""

    at: datetime
    models: list[ModelView]
    jobs: list[dict[str, Any]]
    services: dict[str, str | None]
    problems: list[str]


def build_page(facts: Facts, traffic: Callable[[str], Traffic | None]) -> Page:
    """The page for these facts."""
    problems = [fetched.problem for fetched in (facts.models, facts.jobs) if fetched.problem]
    return Page(
        at=datetime.now(UTC),
        models=[_model(details, traffic(details.model_id)) for details in facts.details],
        jobs=(facts.jobs.data or {}).get("jobs", []),
        services=facts.services,
        problems=problems,
    )


def _model(facts: ModelFacts, traffic: Traffic | None) -> ModelView:
    model = facts.model.data or {}
    versions = model.get("versions", [])
    loop = facts.loop.data
    fetched = (facts.model, facts.deployment, facts.drift, facts.loop)
    return ModelView(
        model_id=facts.model_id,
        name=model.get("model_name") or facts.model_id,
        versions=versions[:VERSIONS_SHOWN],
        more_versions=max(len(versions) - VERSIONS_SHOWN, 0),
        deployment=facts.deployment.data,
        traffic=traffic,
        drift=drift_view(facts.drift.data) if facts.drift.data else None,
        loop=loop,
        steps=_steps(loop) if loop else [],
        problems=[answer.problem for answer in fetched if answer.problem],
    )


def _steps(loop: dict[str, Any]) -> list[StepView]:
    steps = [
        StepView(step["at"], cycle["cycle_id"], step["step"], step["explanation"])
        for cycle in loop["cycles"]
        for step in reversed(cycle["steps"])
    ]
    return steps[:STEPS_SHOWN]


def clock(time: str | datetime | None) -> str:
    """A time as `12:00:00`, with the day when it was not today; UTC."""
    if not time:
        return "-"
    at = time if isinstance(time, datetime) else datetime.fromisoformat(time)
    at = at.astimezone(UTC)
    return at.strftime("%H:%M:%S" if at.date() == datetime.now(UTC).date() else "%Y-%m-%d %H:%M:%S")


def compact(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, `-` for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
