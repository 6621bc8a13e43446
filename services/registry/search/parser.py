"""Reads filters.

    filter     = both { "or" both }
    both       = single { "and" single }
    single     = "not" single | "(" filter ")" | comparison
    comparison = field "exists"
               | field [ "not" ] "in" "(" value { "," value } ")"
               | field operator value
    operator   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "like"
    field      = NAME | ( "metrics" | "tags" ) "." ( NAME | QUOTED )
    value      = WORD | QUOTED

`fields.KINDS` lists the fields. Words such as `and` are read in either case. A text in quotes (", ' or `) doubles a
quote inside it. Text is compared exactly, upper and lower case told apart; in a `like` pattern % is any text, _ any one
sign, and a backslash takes a sign literally. A duration, `7d`, is a time: that long ago. What a version does not have
fulfils no comparison, `!=` and `not in` no more than `=`; `not` is the exact complement.
"""

from collections.abc import Callable
from difflib import get_close_matches

from services.registry.search.expression import And, Comparison, Expression, Field, Not, Or, Value
from services.registry.search.fields import KINDS, MAX_NAME, NAMED, BadValue, Kind, check_pattern, kind_of
from services.registry.search.lexer import BadFilter, Token, tokens

MAX_LENGTH = 4000
"""Characters of a filter."""
MAX_DEPTH = 20
"""Parentheses and `not` inside each other."""
MAX_TERMS = 50
"""Comparisons in a filter; a list counts by its values."""

_KEYWORDS = ("and", "or", "not", "in", "contains", "like", "exists")


def parse(text: str) -> Expression | None:
    """The tree of a filter, None for an empty one. Raises `BadFilter` naming the place and what was expected."""
    if len(text) > MAX_LENGTH:
        raise BadFilter(MAX_LENGTH + 1, f"a filter has at most {MAX_LENGTH} characters")
    if "\0" in text:
        raise BadFilter(text.index("\0") + 1, "the character NUL stands in no text")
    if not text.strip():
        return None
    return _Parser(list(tokens(text))).whole()


class _Parser:
    """Recursive descent over the tokens; every method reads one rule of the grammar."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._place = 0
        self._depth = 0
        self._terms = 0

    def whole(self) -> Expression:
        tree = self._filter()
        if self._now.kind != "end":
            raise self._expected("`and`, `or` or the end")
        return tree

    def _filter(self) -> Expression:
        parts = self._joined("or", self._both)
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self) -> Expression:
        parts = self._joined("and", self._single)
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _joined(self, word: str, rule: Callable[[], Expression]) -> list[Expression]:
        parts = [rule()]
        while self._took(word):
            parts.append(rule())
        return parts

    def _single(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadFilter(self._now.at, f"more than {MAX_DEPTH} parentheses and `not` inside each other")
        try:
            if self._took("not"):
                return Not(self._single())
            if self._took_sign("("):
                inner = self._filter()
                self._need_sign(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Expression:
        field = self._field()
        kind = kind_of(field)
        operator = self._operator(field, kind)
        if operator == "exists":
            self._count()
            return Comparison(field, operator)
        if operator not in ("in", "not in"):
            return Comparison(field, operator, (self._value(kind, operator),))
        self._need_sign("(")
        values = [self._value(kind, operator)]
        while self._took_sign(","):
            values.append(self._value(kind, operator))
        self._need_sign(")")
        return Comparison(field, operator, tuple(dict.fromkeys(values)))

    def _field(self) -> Field:
        token = self._now
        if token.kind != "word" or token.text.lower() in _KEYWORDS:
            raise self._expected(f"a field ({', '.join(_spelled(name) for name in KINDS)}), `not` or `(`")
        first, dot, name = token.text.partition(".")
        if first not in KINDS or bool(dot) != (first in NAMED):
            known = [_spelled(each) for each in KINDS]
            meant = get_close_matches(token.text, known, 1)
            hint = f"; did you mean {meant[0]}?" if meant else f"; there are {', '.join(known)}"
            raise BadFilter(token.at, f"there is no field {token.text[:100]!r}{hint}")
        self._place += 1
        if first not in NAMED:
            return Field(first)
        if not name:
            if self._now.kind != "quoted" or not self._now.text:
                raise self._expected(f"a name after `{first}.`, in quotes if it has odd signs")
            name = self._take().text
        if len(name) > MAX_NAME:
            raise BadFilter(token.at, f"a name has at most {MAX_NAME} characters")
        return Field(first, name)

    def _operator(self, field: Field, kind: Kind) -> str:
        token = self._now
        operator = token.text.lower() if token.kind in ("word", "sign") else ""
        if operator == "not":
            self._place += 1
            operator = f"not {self._now.text.lower()}"
        operator = "=" if operator == "==" else operator
        if operator not in kind.operators:
            about = "metrics" if field.kind == "metrics" else "tags" if field.kind == "tags" else field.kind
            raise self._expected(f"one of {' '.join(kind.operators)} (what {about} is compared with)")
        self._place += 1
        return operator

    def _value(self, kind: Kind, operator: str) -> Value:
        token = self._now
        if token.kind not in ("word", "quoted"):
            raise self._expected("a value; text with blanks or signs stands in quotes")
        self._count()
        try:
            value = kind.read(token.text)
            if operator == "like":
                check_pattern(token.text)
        except BadValue as error:
            raise self._expected(str(error)) from error
        self._place += 1
        return value

    # tokens

    @property
    def _now(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._now
        self._place += 1
        return token

    def _took(self, word: str) -> bool:
        found = self._now.kind == "word" and self._now.text.lower() == word
        self._place += found
        return found

    def _took_sign(self, sign: str) -> bool:
        found = self._now.kind == "sign" and self._now.text == sign
        self._place += found
        return found

    def _need_sign(self, sign: str) -> None:
        if not self._took_sign(sign):
            raise self._expected(f"`{sign}`")

    def _count(self) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise BadFilter(self._now.at, f"a filter compares with at most {MAX_TERMS} values")

    def _expected(self, what: str) -> BadFilter:
        token = self._now
        return BadFilter(token.at, f"expected {what}, found {str(token)[:100]}")


def _spelled(field: str) -> str:
    return f"{field}.NAME" if field in NAMED else field
