"""Errors as problem documents (RFC 9457), and the one table of status codes."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from services.kernel import errors
from services.kernel.errors import Overloaded, TrimtabError
from services.kernel.http.fields import field_of, sentence_of
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

_UNREADABLE_BODY = (400, "There was an error parsing the body")
"""What FastAPI says of every body on which the parser failed in another way than by a syntax error."""

PROBLEM_JSON = "application/problem+json"


class MethodNotAllowed(TrimtabError):
    """The path is known, but not with this method."""

    code = "method-not-allowed"

    def __init__(self, method: str, path: str, allowed: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allowed))
        super().__init__(f"{path[:200]} does not take {method}, only {self.allow}")


STATUS: dict[type[TrimtabError], int] = {
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.InvalidInput: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    MethodNotAllowed: 405,
    errors.PreconditionFailed: 412,
    errors.Conflict: 409,
    errors.NotBuilt: 501,
    errors.Undecodable: 400,
    errors.IntegrityFailed: 422,
    errors.Failed: 500,
    errors.Misconfigured: 500,
    errors.Unavailable: 503,
    errors.NoRoom: 507,
}


def status_of(error: TrimtabError) -> int:
    """The HTTP status of an error: that of the nearest class in its ancestry."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(status: int, code: str, title: str, detail: str, **members: Any) -> JSONResponse:
    """A problem document."""
    body = {"type": f"urn:trimtab:error:{code}", "title": title, "status": status, "detail": detail, "code": code}
    return JSONResponse(body | members, status_code=status, media_type=PROBLEM_JSON)


def problem_of(error: TrimtabError) -> JSONResponse:
    """The problem document of one of our errors, with Retry-After or WWW-Authenticate where they belong."""
    status = status_of(error)
    response = problem(status, error.code, (type(error).__doc__ or "").strip().rstrip("."), error.detail, **error.facts)
    if status == 503:
        seconds = error.retry_after_seconds if isinstance(error, Overloaded) else 2
        response.headers["Retry-After"] = str(max(1, round(seconds)))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allow
    return response


def invalid_json(detail: str) -> JSONResponse:
    """400: the body can't be read as JSON."""
    return problem(400, "invalid-json", "The body is not JSON", detail)


def invalid_fields(error: ValidationError | RequestValidationError) -> JSONResponse:
    """422, naming every field that is wrong, in snake_case; 400 when the body is not JSON at all."""
    fields: dict[str, list[str]] = {}
    for e in error.errors():
        if e["type"] == "json_invalid":
            where = f", at character {e['loc'][-1]}" if e["loc"] else ""
            return invalid_json(f"the body is not JSON: {e['ctx']['error']}{where}")
        fields.setdefault(field_of(e["loc"], e["type"]), []).append(sentence_of(e["type"], e["msg"], e.get("ctx", {})))
    found = [{"field": name, "problem": " or ".join(dict.fromkeys(problems))} for name, problems in fields.items()]
    detail = "; ".join(f"{item['field']}: {item['problem']}" for item in found)
    return problem(422, "invalid-input", "The request does not fit", detail, errors=found)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        return problem_of(error) if isinstance(error, TrimtabError) else _unexpected(error)

    async def fields(_: Request, error: Exception) -> JSONResponse:
        return (
            invalid_fields(error) if isinstance(error, RequestValidationError | ValidationError) else _unexpected(error)
        )

    async def plain(_: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            return _unexpected(error)
        if (error.status_code, error.detail) == _UNREADABLE_BODY:
            return invalid_json("the body is not JSON that can be read: it must be UTF-8 and not nested too deeply")
        code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status_code, "http-error")
        response = problem(error.status_code, code, "The request can't be answered", str(error.detail))
        response.headers.update(error.headers or {})
        return response

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return _unexpected(error)

    app.add_exception_handler(TrimtabError, ours)
    app.add_exception_handler(RequestValidationError, fields)
    app.add_exception_handler(ValidationError, fields)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, unexpected)


def _unexpected(error: Exception) -> JSONResponse:
    log.error("request_failed_unexpectedly", error=repr(error))
    return problem(500, "internal", "This is a defect in Trimtab", "the log names it; please report it")
