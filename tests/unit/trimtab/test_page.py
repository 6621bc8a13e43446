"""The page from what services say: escaped, silent services named, the order of features."""

from typing import Any

import pytest

from trimtab.ui.api import _templates
from trimtab.ui.drift_view import drift_view
from trimtab.ui.page import build_page, clock, compact
from trimtab.ui.sources import Facts, Fetched, ModelFacts
from trimtab.ui.traffic import Traffic

HOSTILE = "<script>alert(1)</script>"
TIME = "2026-01-31T12:00:00+00:00"


def _drift(**changes: Any) -> dict[str, Any]:
    performance = {"metric": "accuracy", "baseline": 0.99, "worse": False, "current": None, "history": []}
    return {
        "model_id": "m",
        "version": "1.0.0",
        "method": "psi",
        "threshold": 0.1,
        "signal": None,
        "performance": performance,
        "current": None,
        "history": [],
    } | changes


def _window(**psi: float) -> dict[str, Any]:
    features = {name: {"psi": value, "expected": 0.01, "p_value": 0.5} for name, value in psi.items()}
    drifted = [name for name, value in psi.items() if value > 0.11]
    return {"rows": 1000, "start": TIME, "end": TIME, "drifted": drifted, "features": features}


def _facts(**changes: Any) -> Facts:
    version = {
        "version": "1.0.0",
        "stage": "production",
        "stage_since": TIME,
        "metrics": {"accuracy": 0.99},
    }
    route = {"name": HOSTILE, "version": "1.0.0", "weight": 100.0}
    replica = {
        "replica": HOSTILE,
        "state": "failed",
        "versions": [{"version": "1.0.0", "state": "failed", "since": TIME, "detail": HOSTILE, "requests": 3}],
    }
    deployment = {
        "routes": [route],
        "revision": 2,
        "since": TIME,
        "actor": HOSTILE,
        "reason": HOSTILE,
        "replicas": [replica],
    }
    step = {"at": TIME, "step": "noticed", "explanation": HOSTILE}
    details = ModelFacts(
        model_id=HOSTILE,
        model=Fetched({"model_name": HOSTILE, "versions": [version] * 8}),
        deployment=Fetched(deployment),
        drift=Fetched(_drift(history=[_window(**{HOSTILE: 0.5})], signal={"features": [HOSTILE]})),
        loop=Fetched({"paused": True, "cycles": [{"cycle_id": "c", "steps": [step]}]}),
    )
    job = {
        "job_id": "j",
        "model_id": HOSTILE,
        "state": "running",
        "progress": {"epoch": 3, "epochs": 16},
        "eta_seconds": 4.0,
        "detail": None,
        "metrics": {},
        "submitted_at": TIME,
        "requested_by": HOSTILE,
        "reason": HOSTILE,
    }
    named: dict[str, Any] = {
        "models": Fetched({"models": []}),
        "details": [details],
        "jobs": Fetched({"jobs": [job]}),
        "services": {"registry": None, "loop": "does not answer at http://x"},
    }
    return Facts(**named | changes)


def _render(facts: Facts) -> str:
    busy = Traffic(12.5, 0.0, 0.2, 1.0, [1.0, 2.0], 40)
    return _templates.get_template("page.html").render(page=build_page(facts, lambda _: busy))


def test_nothing_that_people_or_services_wrote_becomes_markup() -> None:
    html = _render(_facts())
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 12
    assert html.count("<script") == 1


def test_it_shows_progress_rates_and_what_is_silent() -> None:
    html = _render(_facts())
    assert "epoch 3 of 16, 4 s left" in html
    assert "12.5" in html
    assert "loop does not answer at http://x" in html
    assert "and 2 older" in html
    assert "The loop is paused" in html


def test_a_silent_service_is_a_note_and_never_an_error() -> None:
    silent = Fetched(problem="the registry service: nothing answers")
    html = _render(_facts(models=silent, details=[], jobs=Fetched(problem="the trainer service: broke")))
    assert html.count('<p class="note">the') == 2
    assert "No models yet" not in html


def test_an_empty_installation_says_how_to_begin() -> None:
    html = _render(_facts(details=[], jobs=Fetched({"jobs": []})))
    assert "trimtab train" in html


def test_a_model_that_was_never_deployed() -> None:
    nothing = Fetched()
    bare = ModelFacts("m", Fetched({"model_name": "", "versions": []}), nothing, nothing, nothing)
    html = _render(_facts(details=[bare]))
    assert "Nothing of this model is deployed" in html
    assert "No window has been judged yet" in html


def test_drifted_features_come_first_then_the_nearest_to_alarm() -> None:
    view = drift_view(_drift(history=[_window(a=0.02, b=0.6, c=0.09, d=0.2)]))
    assert view is not None
    assert [feature.feature for feature in view.leading] == ["b", "d", "c", "a"]
    assert [feature.drifted for feature in view.leading] == [True, True, False, False]
    assert view.leading[0].alarm_at == pytest.approx(0.11)
    assert view.complete


def test_before_the_first_judged_window_the_open_one_is_shown() -> None:
    feature = {"feature": "a", "score": 0.3, "expected": 0.05, "p_value": None, "drifted": False}
    view = drift_view(_drift(current={"rows": 70, "start": TIME, "end": TIME, "features": [feature]}))
    assert view is not None
    assert not view.complete
    assert (view.rows, view.leading[0].score) == (70, 0.3)
    assert drift_view(_drift()) is None


def test_times_and_numbers_for_people() -> None:
    assert clock(None) == "-"
    assert clock(TIME) == "2026-01-31 12:00:00"
    assert [compact(value) for value in (None, 0.01234, 12345.6)] == ["-", "0.0123", "12,346"]
