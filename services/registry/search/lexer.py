"""The words and signs of a filter, each with its place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from services.kernel.errors import InvalidInput

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+)
    | (?P<sign><=|>=|!=|==|[()=<>,])
    | (?P<quoted>"(?:[^"]|"")*" | '(?:[^']|'')*' | `(?:[^`]|``)*`)
    | (?P<word>[^\s()=<>!,"'`]+)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """A `sign`, a `word`, a `quoted` text without its quotes, or the `end`. `at` counts characters from 1."""

    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


class BadFilter(InvalidInput):
    """The filter cannot be read; the sentence names the place and what was expected there."""

    def __init__(self, at: int, detail: str) -> None:
        super().__init__(f"filter, character {at}: {detail}", at=at)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text`, an `end` last. Raises `BadFilter`. O(characters).

    >>> [(token.kind, token.text) for token in tokens('tags."my team"=x')]
    [('word', 'tags.'), ('quoted', 'my team'), ('sign', '='), ('word', 'x'), ('end', '')]
    """
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if text[at] in "\"'`":
                raise BadFilter(at + 1, f"this text is not closed; it needs another {text[at]} at its end")
            raise BadFilter(at + 1, f"{text[at]!r} means nothing here; did you mean `!=`?")
        kind, piece = str(found.lastgroup), found.group()
        if kind == "quoted":
            mark = piece[0]
            yield Token(kind, piece[1:-1].replace(mark * 2, mark), at + 1)
        elif kind != "blank":
            yield Token(kind, piece, at + 1)
        at = found.end()
    yield Token("end", "", len(text) + 1)
