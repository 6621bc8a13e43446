"""Routes of policies: of one model, and the default of all. Everybody may read them, administrators write them."""

import sqlalchemy as sa
from fastapi import APIRouter, Response

from schemas.base import Name
from services.kernel.auth import Principal
from services.kernel.errors import Conflict
from services.kernel.http.api import Admin, EveryModelAdmin, Reader
from services.registry import versions
from services.registry.api.governance import PolicyDocument, policy_document
from services.registry.api.parts import IfMatch, Parts, PartsOf, expected_revision
from services.registry.governance import policies
from services.registry.governance.policies import EVERY_MODEL, Kept
from services.registry.governance.policy import Policy

router = APIRouter(prefix="/mlops", tags=["policies"])


@router.get("/policy", summary="The default policy")
async def get_default(parts: PartsOf, _: Reader, response: Response) -> PolicyDocument:
    """It holds for every model without a policy of its own. The ETag is its revision."""
    kept = await parts.db.read(lambda connection: policies.effective(connection, EVERY_MODEL))
    return _answer(None, kept, response)


@router.put("/policy", summary="Write the default policy")
async def set_default(
    wanted: Policy, parts: PartsOf, principal: EveryModelAdmin, response: Response, if_match: IfMatch = None
) -> PolicyDocument:
    """The whole policy, not a part of it. With If-Match it fails if somebody was faster."""
    return _answer(None, await _write(parts, EVERY_MODEL, wanted, principal, if_match), response)


@router.delete("/policy", summary="Return to the built-in policy")
async def remove_default(
    parts: PartsOf, principal: EveryModelAdmin, response: Response, if_match: IfMatch = None
) -> PolicyDocument:
    """Every revision is kept. The answer is the policy that holds from now on."""
    return _answer(None, await _write(parts, EVERY_MODEL, None, principal, if_match), response)


@router.get("/models/{model_id}/policy", summary="The policy of a model")
async def get_policy(model_id: Name, parts: PartsOf, _: Reader, response: Response) -> PolicyDocument:
    """Its own, or else the default; `source` says which."""

    def read(connection: sa.Connection) -> Kept:
        versions.find_model(connection, model_id)
        return policies.effective(connection, model_id)

    return _answer(model_id, await parts.db.read(read), response)


@router.put("/models/{model_id}/policy", summary="Give a model a policy of its own")
async def set_policy(
    model_id: Name, wanted: Policy, parts: PartsOf, principal: Admin, response: Response, if_match: IfMatch = None
) -> PolicyDocument:
    """The whole policy, not a part of it. With If-Match it fails if somebody was faster."""
    return _answer(model_id, await _write(parts, model_id, wanted, principal, if_match), response)


@router.delete("/models/{model_id}/policy", summary="Let a model follow the default policy again")
async def remove_policy(
    model_id: Name, parts: PartsOf, principal: Admin, response: Response, if_match: IfMatch = None
) -> PolicyDocument:
    """Every revision is kept. The answer is the policy that holds from now on."""
    return _answer(model_id, await _write(parts, model_id, None, principal, if_match), response)


async def _write(
    parts: Parts, model_id: str, wanted: Policy | None, principal: Principal, if_match: str | None
) -> Kept:
    if wanted is not None and wanted.needs_names and parts.settings.auth == "off":
        raise Conflict(
            "four_eyes and more than one approval tell people apart by their keys, and TRIMTAB_AUTH is off: set it to "
            "`keys` first"
        )
    expected = expected_revision(if_match, "the policy's revision")
    return await parts.work.run(
        lambda uow: policies.write(uow, model_id, wanted, actor=principal.name, expected_revision=expected)
    )


def _answer(model_id: str | None, kept: Kept, response: Response) -> PolicyDocument:
    response.headers["ETag"] = f'"{kept.revision}"'
    return policy_document(model_id, kept)
