"""Drift, as the page shows it. Pure."""

from dataclasses import dataclass
from typing import Any

LEADING = 10
"""Features that are shown at once; the others unfold."""


@dataclass(frozen=True)
class FeatureView:
    """One feature's score, what it would be without drift, and the score that would be drift."""

    feature: str
    score: float
    expected: float
    alarm_at: float
    p_value: float | None
    drifted: bool
    past: list[float]


@dataclass(frozen=True)
class DriftView:
    """The last judged window, or the one that still fills before the first is judged (`complete` is false).

    `top` is the end of the bars' scale.
    """

    version: str
    method: str
    threshold: float
    rows: int
    start: str
    end: str
    complete: bool
    windows: int
    top: float
    leading: list[FeatureView]
    others: list[FeatureView]
    signal: dict[str, Any] | None
    performance: dict[str, Any]


def drift_view(document: dict[str, Any]) -> DriftView | None:
    """The view of `GET /mlops/models/{id}/drift`; None before the first row, and without a baseline."""
    history = document.get("history") or []
    method, threshold = document["method"], document["threshold"]
    window = history[-1] if history and method in next(iter(history[-1]["features"].values()), {}) else None
    if window is not None:
        scored = [
            (name, scores[method], scores["expected"], scores["p_value"], name in window["drifted"])
            for name, scores in window["features"].items()
        ]
    else:
        window = document.get("current")
        if window is None:
            return None
        scored = [(f["feature"], f["score"], f["expected"], f["p_value"], f["drifted"]) for f in window["features"]]
    features = [
        FeatureView(
            name,
            score or 0.0,
            expected or 0.0,
            (expected or 0.0) + threshold,
            p_value,
            drifted,
            [past["features"].get(name, {}).get(method) or 0.0 for past in history],
        )
        for name, score, expected, p_value, drifted in scored
    ]
    features.sort(key=lambda view: (not view.drifted, view.alarm_at - view.score))
    return DriftView(
        version=document["version"],
        method=method,
        threshold=threshold,
        rows=window["rows"],
        start=window["start"],
        end=window["end"],
        complete=bool(history),
        windows=len(history),
        top=max([2 * threshold, *(min(view.score, 10 * threshold) for view in features)]),
        leading=features[:LEADING],
        others=features[LEADING:],
        signal=document["signal"],
        performance=document["performance"],
    )
