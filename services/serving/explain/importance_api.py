"""`GET /mlops/models/{id}/importance` and its trend over the versions of a model."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from schemas.base import Document, Name
from services.kernel.errors import Overloaded, TrimtabError
from services.kernel.http.api import Reader
from services.serving.explain.importance import FeatureImportance, Importance
from services.serving.explain.importances import Computing, Importances
from services.serving.explain.trend import FeatureTrend, trend_of
from services.serving.explain.versions import RegisteredVersion, VersionBook, reference
from services.serving.settings import ServingSettings

router = APIRouter(prefix="/mlops/models", tags=["explanations"])

PENDING = 202

Limit = Annotated[int, Query(ge=1, le=10_000, description="Most features, the most important ones.")]


class ImportanceDocument(Document):
    """`state` is `ready`, or `pending` (202) with `rows_done` of `rows` and no features yet: ask again.

    `importance` is the mean over `rows` of the baseline sample of half the summed |Shapley values| of all classes (the
    probability that the feature moves), or of |Shapley value| for a number.
    """

    model_id: Name
    version: str
    state: str
    method: str
    algorithm: str | None = None
    rows: int
    rows_done: int
    background_rows: int
    features: list[FeatureImportance] = []
    feature_count: int = 0
    seconds: float | None = None


class TrendDocument(Document):
    """The importance of each feature over `versions` (the oldest first). `pending` are being computed, one at a time;
    `failed` have none, with the reason. Where a version has no value for a feature it is null."""

    model_id: Name
    method: str
    versions: list[str]
    features: list[FeatureTrend]
    feature_count: int
    pending: list[str]
    failed: dict[str, str]
    computing: dict[str, Any] | None = None


@router.get(
    "/{model_id}/importance",
    summary="Which features matter to a version",
    response_model=ImportanceDocument,
    responses={202: {"description": "Being computed; ask again", "model": ImportanceDocument}},
)
async def importance(
    model_id: Name,
    request: Request,
    _: Reader,
    version: Annotated[str | None, Query(max_length=200, description="A version or `@alias`; none: as served.")] = None,
    limit: Limit = 1000,
) -> JSONResponse:
    """Computed once for a version, by whichever replica is asked first; 202 while that lasts."""
    importances, book, settings = _parts(request)
    ref = await book.find(model_id, version)
    found = await importances.find(ref)
    computing = None
    if found is None:
        computing = importances.compute(ref)
        if computing is not None:
            await _wait(computing, settings.serving_explain_wait_seconds)
            found = await importances.find(ref)
        failure = importances.failure(ref)
        if found is None and failure is not None:
            raise _again(failure)
        if found is None and computing is None:
            raise Overloaded("too many versions wait for their importance; try again later", 60.0)
    document = _document(model_id, ref.version, found, computing, importances, limit)
    headers = {} if found is not None else {"Retry-After": "2"}
    return JSONResponse(
        document.model_dump(mode="json"), status_code=200 if found is not None else PENDING, headers=headers
    )


@router.get("/{model_id}/importance/trend", summary="How importance changed from version to version")
async def trend(
    model_id: Name,
    request: Request,
    _: Reader,
    versions: Annotated[int | None, Query(ge=1, le=1000, description="Most versions, the newest ones.")] = None,
    limit: Limit = 50,
) -> TrendDocument:
    """What is known at once; what is not is begun and named as `pending`."""
    importances, book, settings = _parts(request)
    most = settings.serving_explain_trend_versions
    listed = await book.newest(model_id, min(versions or most, most))
    found: dict[str, Importance] = {}
    pending: list[str] = []
    failed: dict[str, str] = {}
    computing: dict[str, Any] | None = None
    for one in listed:
        known = await _known(importances, model_id, one)
        if isinstance(known, Importance):
            found[one.version] = known
        elif isinstance(known, str):
            failed[one.version] = known
        else:
            pending.append(one.version)
            if computing is None and known is not None and known.sums.total is not None:
                computing = {"version": one.version, "rows_done": known.sums.rows, "rows": known.sums.total}
    shown = [one.version for one in listed if one.version in found]
    features = trend_of([found[version] for version in shown])
    return TrendDocument(
        model_id=model_id,
        method=importances.plan.method,
        versions=shown,
        features=features[:limit],
        feature_count=len(features),
        pending=pending,
        failed=failed,
        computing=computing,
    )


async def _known(
    importances: Importances, model_id: str, version: RegisteredVersion
) -> Importance | Computing | str | None:
    """The importance of a version; its computation, begun if need be; or why there is none."""
    ref = reference(model_id, version)
    found = await importances.find(ref)
    if found is not None:
        return found
    if version.bytes_dropped_at is not None:
        return "its files were given up by the model's retention"
    failure = importances.failure(ref)
    if failure is not None:
        return failure.detail
    return importances.compute(ref)


async def _wait(computing: Computing, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await computing.ended.wait()
    except TimeoutError:
        return


def _again(failure: TrimtabError) -> TrimtabError:
    """The error as if it were raised for the first time."""
    return failure.with_traceback(None)


def _document(
    model_id: str,
    version: str,
    found: Importance | None,
    computing: Computing | None,
    importances: Importances,
    limit: int,
) -> ImportanceDocument:
    plan = importances.plan
    if found is None:
        sums = computing.sums if computing is not None else None
        return ImportanceDocument(
            model_id=model_id,
            version=version,
            state="pending",
            method=plan.method,
            rows=(sums.total if sums is not None else None) or plan.rows,
            rows_done=sums.rows if sums is not None else 0,
            background_rows=plan.background_rows,
        )
    return ImportanceDocument(
        model_id=model_id,
        version=version,
        state="ready",
        method=plan.method,
        algorithm=found.algorithm,
        rows=found.rows,
        rows_done=found.rows,
        background_rows=found.background_rows,
        features=found.features[:limit],
        feature_count=len(found.features),
        seconds=found.seconds,
    )


def _parts(request: Request) -> tuple[Importances, VersionBook, ServingSettings]:
    state = request.app.state.service.state
    return state["importances"], state["versions"], request.app.state.service.settings
