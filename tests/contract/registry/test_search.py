"""Searching versions: what is found, in which order, page by page; the same on both databases."""

import asyncio
import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.registry_fill import fill, manifest_of
from schemas.events import Scope, Stage
from services.kernel.auth import Principal
from services.kernel.uow import UnitOfWork
from services.registry import aliases, annotations, stages, versions
from services.registry.search.expression import And, Comparison, Expression, Field, Not, Or, Value
from services.registry.search.finder import Question, find
from services.registry.search.ordering import Ordering, read_ordering
from services.registry.search.parser import parse
from services.registry.search.rows import read_found
from services.registry.search.text import words_of
from services.registry.tables import signatures
from services.registry.tables import versions as table
from tests.contract.registry.conftest import Registry
from tests.property.registry.test_filters import EXPRESSIONS

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORDERS = (
    "registered_at",
    "registered_at asc",
    "version",
    "model_id desc",
    "metrics.f1",
    "metrics.loss asc",
    "metrics.no",
)


async def some(registry: Registry, count: int = 40) -> list[dict[str, Any]]:
    """Versions of a few models in every stage, registered as ever; their rows, oldest first."""
    rng = random.Random(1)

    def register(uow: UnitOfWork) -> None:
        for number in range(count):
            model_id = ("alpha", "Beta", "beta-2", "gamma")[number % 4]
            manifest = manifest_of(model_id, number, rng)
            metrics = {
                "f1": round(number % 7 / 7, 3),
                "loss": float(number),
                **({"odd name": 1.0} if number % 3 else {}),
            }
            tags = {"team": ("red", "green", "blue%")[number % 3], **({"note": "Größe_1"} if number % 5 == 0 else {})}
            manifest = manifest.model_copy(
                update={"metrics": metrics, "tags": tags, "description": f"Fraud no {number}: größer, naïve-bayes"}
            )
            if number % 2:
                manifest = manifest.model_copy(update={"lineage": manifest.lineage.model_copy(update={"job_id": None})})
            version = f"1.{number}.{number % 3}"
            versions.register(
                uow,
                manifest,
                manifest_digest=manifest.manifest_digest,
                artifact=f"models/{model_id}/{number}",
                actor="ada",
                version=version,
            )
            if number % 3 == 0:
                stages.move(uow, model_id, version, Stage.STAGING if number % 2 else Stage.ARCHIVED, actor="ada")
            if number % 10 == 5:
                aliases.set_alias(uow, model_id, f"pick-{number}", version, actor="ada")
            if number % 8 == 0:
                signed = {"model_id": model_id, "version": version, "key_sha256": "0" * 64, "bundle": "", "at": 0.0}
                uow.connection.execute(signatures.insert().values(**signed, actor="ada"))

    await registry.service.work.run(register)
    return await registry.service.db.read(all_rows)


def all_rows(connection: sa.Connection) -> list[dict[str, Any]]:
    """Every version with all that a filter compares."""
    rows = [dict(row._mapping) for row in connection.execute(sa.select(table).order_by(table.c.seq))]
    found = read_found(connection, [row["seq"] for row in rows])
    signed = {(row.model_id, row.version) for row in connection.execute(sa.select(signatures))}
    for row, shown in zip(rows, found, strict=True):
        row |= {"metrics": shown["metrics"], "tags": shown["tags"], "aliases": shown["aliases"]}
        row["signed"] = (row["model_id"], row["version"]) in signed
        row["words"] = _words(row)
    return rows


def _words(row: dict[str, Any]) -> set[str]:
    texts = (row["model_id"], row["description"], row["changes"], json.dumps(row["tags"], ensure_ascii=False))
    folded = " ".join(texts).casefold()
    return set("".join(sign if sign.isalnum() else " " for sign in folded).split())


# the same question, answered by plain Python -----------------------------------------------------------------------


def holds(tree: Expression | None, row: dict[str, Any]) -> bool:
    """Whether a version fulfils a filter."""
    match tree:
        case None:
            return True
        case And():
            return all(holds(part, row) for part in tree.parts)
        case Or():
            return any(holds(part, row) for part in tree.parts)
        case Not():
            return not holds(tree.part, row)
        case Comparison():
            return any(_compares(value, tree) for value in _present(row, tree.field))


def _present(row: dict[str, Any], field: Field) -> list[Any]:
    if field.kind == "alias":
        return list(row["aliases"])
    if field.kind == "version":
        return [(row["major"], row["minor"], row["patch"])]
    value = row[field.kind] if field.name is None else row[field.kind].get(field.name)
    return [] if value is None else [value]


def _compares(mine: Any, term: Comparison) -> bool:
    values = [_plain(value) for value in term.values]
    compare: dict[str, Callable[[], bool]] = {
        "exists": lambda: True,
        "in": lambda: mine in values,
        "not in": lambda: mine not in values,
        "contains": lambda: values[0] in mine,
        "like": lambda: _like(mine, values[0]),
        "=": lambda: mine == values[0],
        "!=": lambda: mine != values[0],
        "<": lambda: mine < values[0],
        "<=": lambda: mine <= values[0],
        ">": lambda: mine > values[0],
        ">=": lambda: mine >= values[0],
    }
    return compare[term.operator]()


def _plain(value: Value) -> Any:
    if isinstance(value, timedelta):
        value = NOW - value
    return value.timestamp() if isinstance(value, datetime) else value


def _like(text: str, pattern: str) -> bool:
    """Wildcards by the textbook: a table of which prefixes match."""
    signs: list[tuple[str, bool]] = []
    escaped = False
    for sign in pattern:
        if sign == "\\" and not escaped:
            escaped = True
            continue
        signs.append((sign, escaped))
        escaped = False
    reached = {0}
    for sign, literal in signs:
        if sign == "%" and not literal:
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            any_one = sign == "_" and not literal
            reached = {at + 1 for at in reached if at < len(text) and (any_one or text[at] == sign)}
    return len(text) in reached


def position(row: dict[str, Any], ordering: Ordering) -> tuple[Any, ...] | None:
    """The key of a version in an order, None if it is not in it."""
    number = (row["major"], row["minor"], row["patch"])
    if ordering.metric is not None:
        metrics: dict[str, float] = row["metrics"]
        return (metrics[ordering.metric], row["seq"]) if ordering.metric in metrics else None
    keys: dict[str, tuple[Any, ...]] = {
        "registered_at": (row["seq"],),
        "version": (*number, row["seq"]),
        "model_id": (row["model_id"], *number, row["seq"]),
    }
    return keys[ordering.what]


def expected(rows: list[dict[str, Any]], question: Question) -> list[tuple[Any, ...]]:
    """The keys of all that the question finds, in order."""
    keys = [
        position(row, question.ordering)
        for row in rows
        if holds(question.expression, row)
        and set(question.text.casefold().split()) <= row["words"]
        and (not question.prefixes or row["model_id"].startswith(question.prefixes))
    ]
    return sorted((key for key in keys if key is not None), reverse=question.ordering.descending)


def pages(connection: sa.Connection, question: Question, limit: int = 7) -> list[tuple[Any, ...]]:
    """Every key, page by page."""
    found: list[tuple[Any, ...]] = []
    after = None
    while True:
        page = find(connection, question, after=after, limit=limit, now=NOW)
        assert len(page.keys) <= limit
        found += page.keys
        after = page.position
        if after is None:
            return found


LIKELY = r"""
metrics.f1 > 0.5 | metrics.'odd name' exists | not metrics.'odd name' = 1 | metrics.f1 in (0, 0.143) | metrics.loss != 3
tags.team = red | tags.team != red | tags.note contains öß | tags.team like '%\%' | tags.note like '%\_1'
tags.team like '_e%' | tags.none exists | stage = staging | stage in (draft, archived) | signed = true | signed != true
alias exists | alias like pick-% | alias != pick-5 | job_id exists | not job_id exists | version >= 1.7.0
version < 1.12.2 | version in (1.1.1, 1.2.2) | version != 1.1.1 | not (version = 1.1.1) | model_id = alpha
model_id = Beta | model_id not in (alpha, gamma) | registered_at > 7d | registered_at < 2020-01-01
framework in (keras, onnx) | size_bytes >= 1020010 | parent_version exists | dataset_digest like 5%
experiment_id = exp-7 | registered_by = ada
"""
FOUND = [tree for text in re.split(r" \| |\n", LIKELY) if (tree := parse(text)) is not None]
TREES = st.recursive(
    st.one_of(st.sampled_from(FOUND), EXPRESSIONS),
    lambda parts: st.one_of(
        st.lists(parts, min_size=2, max_size=3).map(lambda found: And(tuple(found))),
        st.lists(parts, min_size=2, max_size=3).map(lambda found: Or(tuple(found))),
        parts.map(Not),
    ),
    max_leaves=6,
)
QUESTIONS = st.builds(
    Question,
    st.one_of(st.none(), TREES),
    st.sampled_from(["", "", "fraud", "größer naïve", "7", "beta", "nothing"]),
    st.sampled_from(ORDERS).map(read_ordering),
    st.sampled_from([(), (), ("beta",), ("Beta", "gam"), ("none",)]),
)


@pytest.mark.parametrize("few", [2000, 3])
async def test_a_filter_finds_what_plain_python_finds(
    registry: Registry, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, and whether candidates are tested or the index is walked in small steps."""
    rows = await some(registry)
    monkeypatch.setattr("services.registry.search.finder.FEW", few)
    monkeypatch.setattr("services.registry.search.finder.ENOUGH", 2)
    if few < 100:
        monkeypatch.setattr("services.registry.search.finder._Search._steps", lambda _: 5)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(QUESTIONS)
    def compare(question: Question) -> None:
        found = registry.service.db.read_now(lambda connection: pages(connection, question))
        assert found == expected(rows, question)

    await asyncio.to_thread(compare)


async def search(registry: Registry, filter: str = "", **query: Any) -> dict[str, Any]:
    """One page."""
    answer = await registry.client.get("/mlops/versions", params={"filter": filter, **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def names(registry: Registry, filter: str = "", **query: Any) -> list[str]:
    """The versions on a page."""
    page = await search(registry, filter, **query)
    return [f"{found['model_id']}:{found['version']}" for found in page["versions"]]


async def test_what_is_found_is_shown_with_all_that_is_searched(registry: Registry) -> None:
    await registry.register("alpha", metrics={"f1": 0.5}, tags={"team": "red"}, description="First", model_name="The A")
    version = (await registry.version(2, "staging", model_id="beta"))[:]
    page = await search(registry)
    assert page["next_cursor"] is None
    newest, oldest = page["versions"]
    assert (newest["model_id"], newest["version"], newest["stage"]) == ("beta", version, "staging")
    shown = {name: oldest[name] for name in ("metrics", "tags", "description", "model_name", "aliases", "framework")}
    assert shown == {
        "metrics": {"f1": 0.5},
        "tags": {"team": "red"},
        "description": "First",
        "model_name": "The A",
        "aliases": [],
        "framework": "onnx",
    }
    for name in ("manifest_digest", "size_bytes", "registered_at", "registered_by", "stage_since"):
        assert oldest[name]
    assert await names(registry, "metrics.f1 >= 0.5 and tags.team = red") == [f"alpha:{oldest['version']}"]
    assert await names(registry, "stage = staging") == [f"beta:{version}"]


async def test_pages_hold_every_version_once_while_others_are_registered(registry: Registry) -> None:
    rows = await some(registry, 30)
    before = {f"{row['model_id']}:{row['version']}" for row in rows}
    for order in ("registered_at", "registered_at asc", "metrics.loss", "version desc", "model_id"):
        seen: list[str] = []
        cursor = None
        for step in range(100):
            page = await search(registry, order_by=order, limit=4, **({"cursor": cursor} if cursor else {}))
            seen += [f"{found['model_id']}:{found['version']}" for found in page["versions"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            if step % 2:
                manifest = manifest_of("Beta", 1000 * len(seen) + len(order), random.Random(step))
                registered = {"manifest_digest": manifest.manifest_digest, "artifact": "models/x", "actor": "bob"}
                await registry.service.work.run(lambda uow, m=manifest, r=registered: versions.register(uow, m, **r))  # type: ignore[misc]
        assert cursor is None
        assert len(seen) == len(set(seen)), order
        assert before <= set(seen), order
        assert order != "registered_at" or set(seen) == before


async def test_a_cursor_belongs_to_its_question(registry: Registry) -> None:
    await some(registry, 8)
    cursor = (await search(registry, "metrics.f1 >= 0", limit=2))["next_cursor"]
    for other in (
        {"filter": "metrics.f1 > 0"},
        {"filter": "metrics.f1 >= 0", "text": "fraud"},
        {"filter": "metrics.f1 >= 0", "order_by": "registered_at asc"},
        {"filter": "metrics.f1 >= 0", "order_by": "version"},
    ):
        answer = await registry.client.get("/mlops/versions", params={**other, "cursor": cursor})
        assert answer.status_code == 422, answer.text
        assert "cursor" in answer.json()["detail"]


async def test_full_text_finds_words_and_beginnings(registry: Registry) -> None:
    await some(registry, 4)
    assert await names(registry, text="FRAUD größer") == await names(registry)
    assert await names(registry, text="Naïve bay*") == await names(registry)
    assert await names(registry, text="gam*") == ["gamma:1.3.0"]
    assert await names(registry, text="beta-2") == ["beta-2:1.2.2"]
    assert await names(registry, text="fra") == []
    assert await names(registry, text="ﬁ fraud") == []
    assert await names(registry, text="  ") == await names(registry)
    for text in ('"', "!? --"):
        answer = await registry.client.get("/mlops/versions", params={"text": text})
        assert answer.status_code == 422
        assert "no word" in answer.json()["detail"]
    assert await names(registry, text="green") == ["Beta:1.1.1"]
    answer = await registry.client.get("/mlops/versions", params={"text": " ".join(f"w{n}" for n in range(21))})
    assert (answer.status_code, "at most 20 words" in answer.text) == (422, True)


@pytest.mark.parametrize(
    "hostile",
    [
        "'; DROP TABLE versions; --",
        "x' OR '1'='1",
        '" OR 1=1 --',
        "%' OR model_id LIKE '%",
        "version_words MATCH 'x'",
        '"fraud" OR "x"',
        "NEAR(fraud größer)",
        "words : fraud",
        "fraud' | 'x':* & !'y",
        "\\",
        "*",
        '"',
        "''''",
        "${x}:y %s %(x)s ?",
    ],
)
async def test_nothing_that_is_typed_becomes_sql(registry: Registry, hostile: str) -> None:
    await some(registry, 2)
    doubled = hostile.replace('"', '""')
    for filter in (
        f'tags.team = "{doubled}"',
        f'metrics."{doubled}" > 1',
        f'tags."{doubled}" exists',
        f'model_id contains "{doubled}"',
    ):
        assert await names(registry, filter) == []
    escaped = doubled.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    assert await names(registry, f'model_id like "{escaped}"') == []
    answer = await registry.client.get("/mlops/versions", params={"text": hostile})
    assert answer.status_code == (200 if words_of(hostile) else 422), answer.text
    answer = await registry.client.get("/mlops/versions", params={"order_by": f'metrics."{doubled}"'})
    assert (answer.status_code, answer.json()["versions"]) == (200, [])
    answer = await registry.client.get("/mlops/versions", params={"order_by": f"metrics.{hostile}"})
    assert answer.status_code == 422 or answer.json()["versions"] == []
    for order in (hostile, f"version {hostile}", "metrics.f1 desc, x", "metrics.f1, x"):
        assert (await registry.client.get("/mlops/versions", params={"order_by": order})).status_code == 422
    assert len(await names(registry)) == 2


async def test_a_wrong_filter_is_refused_with_its_place(registry: Registry) -> None:
    answer = await registry.client.get("/mlops/versions", params={"filter": "stage = live"})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["at"] == 9
    assert problem["detail"] == (
        "filter, character 9: expected a stage (draft, staging, production, archived), found 'live'"
    )


async def test_a_key_finds_versions_of_its_models_alone(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    await some(registry, 8)
    bound = Principal("ci", frozenset({Scope.READ}), ("beta", "g"))
    monkeypatch.setattr(registry.service.access, "identify", lambda _: bound)
    found = await names(registry)
    assert {PurePosixPath(name).name.partition(":")[0] for name in found} == {"beta-2", "gamma"}
    assert await names(registry, "model_id = alpha") == []
    assert await names(registry, text="alpha") == []
    assert await names(registry, order_by="metrics.loss") == found


async def test_models_are_found_by_words_of_their_versions(registry: Registry) -> None:
    await registry.register("alpha", description="watches logins at night")
    await registry.register("beta", model_name="Night shift")
    await registry.register("gamma")

    async def found(text: str) -> list[str]:
        answer = await registry.client.get("/mlops/models", params={"text": text})
        assert answer.status_code == 200, answer.text
        return [model["model_id"] for model in answer.json()["models"]]

    assert await found("night") == ["alpha", "beta"]
    assert await found("night login*") == ["alpha"]
    assert await found("gamma") == ["gamma"]
    assert await found("delta") == []
    assert await found("") == ["alpha", "beta", "gamma"]


async def test_what_is_annotated_is_found(registry: Registry) -> None:
    await some(registry, 2)

    def write(uow: UnitOfWork) -> None:
        annotations.annotate(
            uow, "alpha", "1.0.0", description="rewritten", tags={"team": None, "new": "x"}, actor="bob"
        )

    await registry.service.work.run(write)
    assert await names(registry, text="rewritten new") == ["alpha:1.0.0"]
    assert await names(registry, text="größer") == ["Beta:1.1.1"]
    assert await names(registry, "tags.new = x") == ["alpha:1.0.0"]
    assert await names(registry, "tags.team = red") == []


PLANNED = (
    ("", "", "registered_at"),
    ("metrics.accuracy >= 0", "", "registered_at"),
    ("metrics.accuracy > 2", "", "registered_at"),
    ("not metrics.accuracy > 0.5", "", "metrics.f1"),
    ("stage = production or metrics.f1 > 0.99", "", "registered_at"),
    ("stage = production", "", "version"),
    ("tags.team = red and metrics.f1 > 0.1 and stage in (draft, archived)", "", "registered_at"),
    ("metrics.f1 > 0.999 and stage = archived", "", "registered_at"),
    ("stage = archived and metrics.f1 > 0.999", "", "metrics.loss"),
    ("tags.run = 7 and framework = onnx", "", "model_id"),
    ("tags.team like r%", "", "registered_at"),
    ("model_id = model-00000", "", "registered_at"),
    ("registered_at > 2024-01-01 and version > 1.0.0", "", "registered_at asc"),
    ("job_id = job-model-00007-7 or experiment_id = exp-3 or dataset_digest = x", "", "registered_at"),
    ("alias = champion or parent_version exists", "version", "metrics.f1"),
    ("", "version", "registered_at"),
    ("", "fra* threat", "registered_at"),
)


async def test_no_question_reads_a_whole_table(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every query that the finder sends goes along indexes, by the database's own word."""
    db = registry.service.db
    await asyncio.to_thread(fill, db, 3000, 40)
    monkeypatch.setattr("services.registry.search.finder.FEW", 20)
    plans: list[tuple[str, str]] = []

    def explain(connection: sa.Connection, statement: str, parameters: Any) -> None:
        if statement.startswith("SELECT"):
            prefix = "EXPLAIN QUERY PLAN " if db.is_sqlite else "EXPLAIN "
            cursor = connection.connection.cursor()
            lines = [str(row[-1]) for row in cursor.execute(prefix + statement, parameters).fetchall()]
            plans.append((statement, "\n".join(lines)))

    def ask(connection: sa.Connection) -> None:
        if not db.is_sqlite:  # so small a table is read faster whole; what could be used instead is the question
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda c, _cursor, statement, parameters, _context, _many: explain(c, statement, parameters),
        )
        for filter, text, order in PLANNED:
            question = Question(parse(filter), text, read_ordering(order))
            after = find(connection, question, after=None, limit=5, now=NOW)
            find(connection, question, after=after.position, limit=5, now=NOW)
            read_found(connection, [key[-1] for key in after.keys])

    await db.read(ask)
    assert len(plans) > 3 * len(PLANNED)
    for statement, plan in plans:
        for line in plan.splitlines():
            whole = "Seq Scan" in line or (line.strip().startswith("SCAN ") and not _bounded(line))
            assert not whole, f"{statement}\n{plan}"
        walks = statement.startswith("SELECT place.") and "ORDER BY" in statement
        assert not (walks and "TEMP B-TREE" in plan), f"what should be walked is sorted: {statement}\n{plan}"
        walks_stages = "versions_stage" in plan and not statement.startswith(("SELECT count", "SELECT versions."))
        assert not (db.is_sqlite and walks_stages), f"all versions of a stage are read: {statement}\n{plan}"


def _bounded(line: str) -> bool:
    """Whether a scan in SQLite's plan is along an index, of rows that a limit or a list bounds, or of full text."""
    signs = (" USING ", "json_each", "VIRTUAL TABLE", "CONSTANT ROW", "SCAN (", "SCAN some", "subquery")
    return any(sign in line for sign in signs)
