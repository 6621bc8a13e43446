"""Finding versions and models, and reading about them."""

from collections.abc import Generator, Mapping
from typing import Any

from trimtab.calls import Call, Json, get, given, part
from trimtab.surfaces.sender import Answer, Sender

PAGE = 1000
"""Items of a page, where all are wanted."""


class Catalog(Sender[Answer]):
    """Search, cards, comparison, lineage, annotations."""

    def models(
        self,
        *,
        text: str | None = None,
        name: str | None = None,
        stage: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Answer:
        """A page of models, by id, each with its newest version and the one in production.

        `text`: words of its versions, `frau*` begins a word; `name`: part of its id or name; `stage`: one that a
        version of it has. `next_cursor` of the answer is the `cursor` of the next page.
        """
        query = {"text": text, "name": name, "stage": stage, "limit": limit, "cursor": cursor}
        return self.send(get("/mlops/models", **query))

    def all_models(self, *, text: str | None = None, name: str | None = None, stage: str | None = None) -> Answer:
        """`models` of every page, as one list."""
        return self.follow(_joined("/mlops/models", "models", {"text": text, "name": name, "stage": stage}))

    def search(
        self,
        filter: str = "",
        *,
        text: str | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Answer:
        """A page of versions of any model: `client.search("metrics.f1 > 0.9 and stage = staging")`.

        `order_by`: registered_at (the newest first), version, model_id or metrics.NAME, with `asc` or `desc` behind it.
        A page may be short and have a `next_cursor`: there is more to look through.
        """
        query = {"filter": filter or None, "text": text, "order_by": order_by, "limit": limit, "cursor": cursor}
        return self.send(get("/mlops/versions", **query))

    def search_all(
        self, filter: str = "", *, text: str | None = None, order_by: str | None = None, at_most: int | None = None
    ) -> Answer:
        """The versions of every page of `search`, or the first `at_most` of them, as one list."""
        query = {"filter": filter or None, "text": text, "order_by": order_by}
        return self.follow(_joined("/mlops/versions", "versions", query, at_most))

    def annotate(
        self,
        model_id: str,
        version: str,
        *,
        description: str | None = None,
        changes: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        expected_etag: str | None = None,
    ) -> Answer:
        """Write about a version; `tags` are merged with those there are, None removes one. Its manifest stays.

        With `expected_etag`, the ETag of the version as it was read, `PreconditionFailed` if somebody was faster.
        """
        body: Json = given(description=description, changes=changes, tags=dict(tags) if tags is not None else None)
        headers = {"If-Match": expected_etag} if expected_etag else {}
        return self.send(Call("PATCH", f"/mlops/models/{part(model_id)}/{part(version)}", body=body, headers=headers))

    def compare_versions(self, model_id: str, a: str, b: str) -> Answer:
        """What is different between two versions; `b` may be of another model, `OTHER:VERSION`."""
        return self.send(get(f"/mlops/models/{part(model_id)}/compare", a=a, b=b))

    def card(self, model_id: str, version: str, *, format: str = "markdown") -> Answer:
        """The card of a version: a page of Markdown, or a document (`json`)."""
        return self.send(get(f"/mlops/models/{part(model_id)}/{part(version)}/card", format=format))

    def lineage(self, model_id: str, version: str, *, depth: int | None = None) -> Answer:
        """Data, job, version and deployment, with `depth` generations of parents and children."""
        return self.send(get(f"/mlops/models/{part(model_id)}/{part(version)}/lineage", depth=depth))


def _joined(
    path: str, member: str, query: Mapping[str, str | None], at_most: int | None = None
) -> Generator[Call, Any, list[Any]]:
    """The items of all pages, in order."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        limit = PAGE if at_most is None else min(PAGE, max(at_most - len(found), 1))
        page = yield get(path, **query, limit=limit, cursor=cursor)
        found += page[member]
        cursor = page["next_cursor"]
        if cursor is None or (at_most is not None and len(found) >= at_most):
            return found[:at_most]
