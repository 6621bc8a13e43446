"""What a filter says survives being written down and read again; what is no filter is refused in a sentence."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Stage
from services.kernel.errors import InvalidInput
from services.registry.search.expression import And, Comparison, Expression, Field, Not, Or, Value
from services.registry.search.fields import KINDS, NAMED
from services.registry.search.lexer import BadFilter
from services.registry.search.parser import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, parse

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
NAMES = TEXTS.filter(bool)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.one_of(
    st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 10**8).map(lambda seconds: timedelta(seconds=seconds)),
)
VERSIONS = st.tuples(*(st.integers(0, 999_999_999),) * 3)
PATTERNS = st.text("ab%_ ", max_size=8)


def values_of(kind: str) -> st.SearchStrategy[Value]:
    """Values that a field can be compared with."""
    if kind in ("registered_at", "stage_since"):
        return TIMES
    special: dict[str, st.SearchStrategy[Value]] = {
        "version": VERSIONS,
        "stage": st.sampled_from([stage.value for stage in Stage]),
        "signed": st.booleans(),
        "metrics": NUMBERS,
        "size_bytes": NUMBERS,
    }
    return special.get(kind, TEXTS)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    """Any comparison that is allowed."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    field = Field(kind, draw(NAMES) if kind in NAMED else None)
    operator = draw(st.sampled_from(KINDS[kind].operators))
    if operator == "exists":
        return Comparison(field, operator)
    values = PATTERNS if operator == "like" else values_of(kind)
    if operator in ("in", "not in"):
        return Comparison(field, operator, tuple(draw(st.lists(values, min_size=1, max_size=4, unique=True))))
    return Comparison(field, operator, (draw(values),))


def _several(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    lists = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(lists.map(And), lists.map(Or), parts.map(Not))


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(comparisons(), _several, max_leaves=8)


@given(EXPRESSIONS)
def test_a_tree_is_read_back_from_its_text(tree: Expression) -> None:
    assert parse(str(tree)) == tree


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_refused_with_its_place(text: str) -> None:
    refused: BadFilter | None = None
    tree: Expression | None = None
    try:
        tree = parse(text)
    except BadFilter as error:
        refused = error
    if refused is None:
        assert (tree is None) == (not text.strip())
    else:
        assert 1 <= refused.facts["at"] <= len(text) + 1
        assert f"character {refused.facts['at']}: " in refused.detail


@pytest.mark.parametrize(
    ("text", "at", "sentence"),
    [
        ("metrics.f1 >", 13, "expected a value"),
        ("metrics.f1 0.9", 12, "expected one of ="),
        ("metrics.f1 > high", 14, "expected a number, found 'high'"),
        ("metrics.f1 > 1e999", 14, "expected a number"),
        ("metrics.f1 > nan", 14, "expected a number"),
        ("metrics. > 1", 10, "a name after `metrics.`"),
        ("stage = live", 9, "expected a stage (draft, staging, production, archived)"),
        ("stages = draft", 1, "did you mean stage?"),
        ("stage", 6, "expected one of = != in not in"),
        ("stage in draft", 10, "expected `(`"),
        ("stage in (draft", 16, "expected `)`"),
        ("(stage = draft", 15, "expected `)`"),
        ("stage = draft stage = staging", 15, "expected `and`, `or` or the end"),
        ("stage = draft and", 18, "expected a field"),
        ("tags.team > a", 11, "what tags is compared with"),
        ("tags.team = 'a", 13, "not closed"),
        ("version > 1.2", 11, "MAJOR.MINOR.PATCH"),
        ("registered_at > soon", 17, "how long ago"),
        ("registered_at > 2026-01-31T12:00:00", 17, "2026-01-31T12:00:00Z"),
        ("signed = maybe", 10, "true or false"),
        ("framework ! onnx", 11, "did you mean `!=`"),
        ("tags.team like 'a\\'", 16, "every backslash"),
        (f"tags.team like '{'%_' * 6}'", 16, "at most 10 of the signs"),
        ("framework = 'a\0b'", 15, "NUL"),
        (f"metrics.{'m' * 257} = 1", 1, "at most 256 characters"),
        ("(" * (MAX_DEPTH + 1) + "stage = draft", MAX_DEPTH + 1, "inside each other"),
        ("not " * (MAX_DEPTH + 1) + "stage = draft", 4 * MAX_DEPTH + 1, "inside each other"),
        (f"stage in ({', '.join(['draft'] * (MAX_TERMS + 1))})", 0, "at most 50 values"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "at most 4000 characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, at: int, sentence: str) -> None:
    with pytest.raises(BadFilter) as refused:
        parse(text)
    assert sentence in refused.value.detail
    if at:
        assert refused.value.facts["at"] == at
    assert isinstance(refused.value, InvalidInput)


def test_a_filter_may_be_written_in_many_ways() -> None:
    one = parse("metrics.f1>=0.9 and not stage in (draft,archived)")
    assert (
        parse("METRICS.f1 >= .9".replace("METRICS", "metrics") + " AND NOT (stage IN ('draft', \"archived\"))") == one
    )
    assert parse("metrics.`f1` >= 9e-1 and not (stage in (draft, archived))") == one
    assert parse("registered_at >= 2026-01-31") == parse("registered_at >= 2026-01-31T01:00:00+01:00")
    assert parse("  ") is None
