"""The route that writes about a version."""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic import Field

from schemas.base import Name, StrictDocument
from services.kernel.http.api import Writer
from services.kernel.uow import UnitOfWork
from services.registry import aliases, annotations
from services.registry.api.documents import VersionDocument, version_document
from services.registry.api.parts import PartsOf, VersionRef
from services.registry.labels import LabelName, TagValue, Text

router = APIRouter(prefix="/mlops/models", tags=["models"])


class Annotations(StrictDocument):
    """What to say from now on. `tags` are merged with those there are; null removes one."""

    description: Text | None = None
    changes: Text | None = None
    tags: dict[LabelName, TagValue | None] = Field(default={}, max_length=200)


@router.patch("/{model_id}/{version}", summary="Write a version's description, changes or tags")
async def annotate(
    model_id: Name,
    version: VersionRef,
    said: Annotations,
    parts: PartsOf,
    principal: Writer,
    response: Response,
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="The ETag of the version that was read; 412 if it is another.")
    ] = None,
) -> VersionDocument:
    """The manifest and every digest stay as they are. The answer's ETag is that of the annotations."""
    expected = None if if_match is None or if_match.strip() == "*" else if_match.strip().removeprefix("W/").strip('"')

    def change(uow: UnitOfWork) -> tuple[VersionDocument, str]:
        row = annotations.annotate(
            uow,
            model_id,
            version,
            description=said.description,
            changes=said.changes,
            tags=said.tags,
            actor=principal.name,
            expected=expected,
        )
        names = aliases.aliases_of(uow.connection, model_id, row.version)
        return version_document(row, names), annotations.fingerprint(row)

    document, tag = await parts.work.run(change)
    response.headers["ETag"] = f'"{tag}"'
    return document
