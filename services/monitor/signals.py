"""What the monitor tells the others: signals with their reasons in words. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from schemas.events import (
    DriftFound,
    DriftOver,
    FeatureScore,
    PerformanceRestored,
    PerformanceWorse,
    SchemaSkewFound,
    SignalState,
)
from schemas.events import Window as WindowEvent
from services.monitor.calibration import Verdict
from services.monitor.drift import DEFINITIONS
from services.monitor.performance import Judgement
from services.monitor.verdicts import ClosedWindow

MAX_FEATURES = 50
NAMED_IN_WORDS = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US = 253_402_300_799_000_000


def instant(microseconds: int) -> datetime:
    """A time in microseconds since 1970 as a datetime in UTC; what lies outside the calendar is clamped."""
    return _EPOCH + timedelta(microseconds=min(max(microseconds, 0), _LAST_US))


def span(start_us: int, end_us: int, rows: int) -> WindowEvent:
    """The judged rows, as the signals tell them."""
    return WindowEvent(start=instant(start_us), end=instant(end_us), rows=rows)


def feature_scores(names: Sequence[str], verdict: Verdict, chosen: Sequence[int]) -> tuple[FeatureScore, ...]:
    """The scores of the features with the numbers `chosen`, in that order."""
    return tuple(
        FeatureScore(
            feature=names[i],
            method=verdict.methods[i],
            score=float(verdict.score[i]),
            expected=float(verdict.expected[i]),
            expected_sd=float(verdict.expected_sd[i]),
            debiased=float(verdict.debiased[i]),
            p_value=float(verdict.p_value[i]),
            significant=bool(verdict.significant[i]),
            drifted=bool(verdict.drifted[i]),
            definition=DEFINITIONS[verdict.methods[i]],
        )
        for i in chosen
    )


def drift_found(
    closed: ClosedWindow, signal_id: str, state: SignalState, named: frozenset[str], first_window: WindowEvent
) -> DriftFound:
    """The raised or updated drift signal; `named` are all features it has named so far."""
    verdict = closed.verdict
    worst_first = [int(i) for i in np.argsort(-verdict.debiased) if verdict.drifted[i]]
    layout = closed.watched.layout
    assert layout is not None
    rows = layout.baseline.rows
    window = span(closed.window.start_us, closed.window.end_us, closed.window.rows)
    in_words = "; ".join(
        f"{closed.names[i]}: {verdict.methods[i].upper()} {verdict.score[i]:.2f}, expected under no drift "
        f"{verdict.expected[i]:.2f} +- {verdict.expected_sd[i]:.2f}"
        for i in worst_first[:NAMED_IN_WORDS]
    )
    return DriftFound(
        signal_id=signal_id,
        model_id=closed.watched.model_id,
        version=closed.watched.version,
        state=state,
        window=window,
        baseline_rows=rows,
        features=feature_scores(closed.names, verdict, worst_first[:MAX_FEATURES]),
        judged_features=int(np.isfinite(verdict.p_value).sum()),
        explanation=(
            f"{in_words}; n = {closed.window.rows}, N = {rows}; "
            f"{len(worst_first)} of {len(closed.names)} features in this window, {len(named)} since it began"
        ),
        first_window=first_window,
        redacted_features=tuple(sorted(closed.redacted)),
    )


def drift_over(closed: ClosedWindow, signal_id: str, calm: int) -> DriftOver:
    """The resolved drift signal."""
    return DriftOver(
        signal_id=signal_id,
        model_id=closed.watched.model_id,
        version=closed.watched.version,
        window=span(closed.window.start_us, closed.window.end_us, closed.window.rows),
        explanation=f"no feature was above the threshold {closed.plan.threshold:g} in {calm} windows in a row",
    )


def skew_found(closed: ClosedWindow, signal_id: str, skewed: Mapping[str, int]) -> SchemaSkewFound:
    """Requests do not fit the signature."""
    in_words = ", ".join(f"{name} in {count}" for name, count in list(skewed.items())[:NAMED_IN_WORDS])
    return SchemaSkewFound(
        signal_id=signal_id,
        model_id=closed.watched.model_id,
        version=closed.watched.version,
        window=span(closed.window.start_us, closed.window.end_us, closed.window.rows),
        features=dict(list(skewed.items())[:MAX_FEATURES]),
        explanation=(
            f"values were missing, unexpected, of the wrong type or refused: {in_words} of {closed.window.rows} rows; "
            f"{len(skewed)} features. Mend the sender: retraining would not help"
        ),
    )


def performance_changed(
    model_id: str, version: str, signal_id: str, window: WindowEvent, judged: Judgement, state: SignalState
) -> PerformanceWorse | PerformanceRestored:
    """Worse (raised, updated) or restored (resolved)."""
    low, high = judged.interval
    words = (
        f"accuracy {judged.value:.3f} (95 % interval {low:.3f} to {high:.3f}) on {window.rows} labelled rows; "
        f"the baseline says {judged.baseline:.3f} ({judged.baseline_interval[0]:.3f} to "
        f"{judged.baseline_interval[1]:.3f})"
    )
    if state is SignalState.RESOLVED:
        return PerformanceRestored(
            signal_id=signal_id,
            model_id=model_id,
            version=version,
            metric="accuracy",
            value=judged.value,
            interval=judged.interval,
            baseline_value=judged.baseline,
            labelled_rows=window.rows,
            window=window,
            explanation=words,
        )
    return PerformanceWorse(
        signal_id=signal_id,
        model_id=model_id,
        version=version,
        state=state,
        metric="accuracy",
        value=judged.value,
        interval=judged.interval,
        baseline_value=judged.baseline,
        labelled_rows=window.rows,
        window=window,
        explanation=words,
    )
