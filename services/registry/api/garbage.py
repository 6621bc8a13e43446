"""The route that collects garbage now; for administrators."""

from fastapi import APIRouter, Request

from schemas.base import Document, Name, StrictDocument, Version
from services.kernel.http.api import EveryModelAdmin
from services.registry.keeping.collector import Collector

router = APIRouter(prefix="/mlops/garbage", tags=["storage"])


class CollectionWanted(StrictDocument):
    """`dry_run`: tell what would be done, and do nothing."""

    dry_run: bool = False


class DroppedDocument(Document):
    """A version whose bytes its model's retention policy gives up."""

    model_id: Name
    version: Version
    size_bytes: int


class CollectionDocument(Document):
    """What a pass saw and did; in a dry run, what it would have done now.

    `condemned`: found to be named by nobody, and removed by a pass that is a grace later. `removed`: was condemned
    before. `spared`: was condemned, and is used again. `waiting`: condemned and not removed yet. `uploads_ended`:
    unfinished uploads that were given up. `keys` names at most 1,000 of what was removed (a dry run: and condemned).
    """

    dry_run: bool
    dropped: list[DroppedDocument]
    folders: int
    blobs: int
    condemned: int
    condemned_bytes: int
    removed: int
    removed_bytes: int
    spared: int
    waiting: int
    waiting_bytes: int
    uploads_ended: int
    seconds: float
    keys: list[str]


@router.post("", summary="Apply the retention policies, and collect what no version names")
async def collect(request: Request, _: EveryModelAdmin, wanted: CollectionWanted | None = None) -> CollectionDocument:
    """One pass, as the registry makes them by itself. 409 while another one is on its way."""
    collector: Collector = request.app.state.service.state["collector"]
    report = await collector.collect(dry_run=wanted.dry_run if wanted is not None else False)
    members = {name: value for name, value in vars(report).items() if name != "dropped"}
    return CollectionDocument(
        **members,
        dropped=[
            DroppedDocument(model_id=each.model_id, version=each.version, size_bytes=each.size_bytes)
            for each in report.dropped
        ],
    )
