"""Importances of several versions, feature by feature. Pure."""

from collections.abc import Sequence

from schemas.base import Document
from services.serving.explain.importance import Importance


class FeatureTrend(Document):
    """One feature: a value for each version, null where the version does not have the feature. `change` is the
    difference of the last two that have."""

    feature: str
    importance: list[float | None]
    standard_error: list[float | None]
    change: float | None


def trend_of(versions: Sequence[Importance]) -> list[FeatureTrend]:
    """Every feature of any version, by its importance in the newest that has it, the greatest first."""
    tables = [{one.feature: one for one in version.features} for version in versions]
    names = dict.fromkeys(name for table in reversed(tables) for name in table)
    trends = []
    for name in names:
        found = [table.get(name) for table in tables]
        values = [one.importance for one in found if one is not None]
        trends.append(
            FeatureTrend(
                feature=name,
                importance=[one.importance if one is not None else None for one in found],
                standard_error=[one.standard_error if one is not None else None for one in found],
                change=values[-1] - values[-2] if len(values) > 1 else None,
            )
        )
    latest = {trend.feature: next(v for v in reversed(trend.importance) if v is not None) for trend in trends}
    return sorted(trends, key=lambda trend: -latest[trend.feature])
