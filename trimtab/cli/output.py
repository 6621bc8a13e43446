"""What commands print: one JSON document, or tables for people.

Text that others wrote (descriptions, comments, names of files) could steer the terminal or look like lines of ours, so
whatever is printed for a person goes through `visible` or `page`.
"""

import json
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

BARS = "▁▂▃▄▅▆▇█"
MISSING = "-"
WIDTH = 160
"""Columns of output that no terminal shows."""
_TURNING = frozenset("\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}") | frozenset(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
"""Characters that change the direction of what stands beside them (Unicode UAX #9)."""


def show(document: Any, as_json: bool, draw: "Callable[[Console], None]") -> None:
    """Print `document` as JSON, or let `draw` print it for a person."""
    if as_json:
        print(json.dumps(document, default=str))
        return
    import sys

    from rich.console import Console

    class Careful(Console):
        """Prints every string as one line that can't steer the terminal."""

        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **options)

    draw(Careful(highlight=False, width=None if sys.stdout.isatty() else WIDTH))


def visible(text: str) -> str:
    """`text` on one line, with characters that steer a terminal, turn the writing or are no text written as escapes.

    >>> visible("two\\nlines")
    'two\\\\nlines'
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def page(text: str) -> str:
    """`text` with its lines, otherwise as `visible` writes it."""
    return "\n".join(map(visible, text.split("\n")))


def _escaped(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _TURNING:
        return character.encode("unicode_escape").decode()
    return character


def table(console: "Console", headings: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "none") -> None:
    """A table; numbers to the right. Text is printed as it is: what looks like markup is no markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if not rows:
        console.print(Text(empty))
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        right = all(isinstance(row[number], int | float) or row[number] is None for row in rows)
        drawn.add_column(Text(visible(heading)), justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell(value)) for value in row))
    console.print(drawn)


def timeline(
    console: "Console", headings: Sequence[str], rows: Sequence[tuple[Sequence[Any], str]], empty: str
) -> None:
    """Rows of cells, each with a text of any length below it."""
    from rich.padding import Padding
    from rich.text import Text

    if not rows:
        console.print(Text(empty))
        return
    lines = [[cell(value) for value in cells] for cells, _ in rows]
    widths = [max(len(heading), *(len(line[n]) for line in lines)) for n, heading in enumerate(headings)]
    console.print(
        Text("  ".join(f"{heading:<{width}}" for heading, width in zip(headings, widths, strict=True)), "dim")
    )
    for line, (_, text) in zip(lines, rows, strict=True):
        padded = "  ".join(f"{value:<{width}}" for value, width in zip(line, widths, strict=True))
        console.print(Text(padded.rstrip()), soft_wrap=True)
        if text:
            console.print(Padding(Text(visible(text), "dim"), (0, 0, 0, 4)))


def facts(console: "Console", pairs: Sequence[tuple[str, Any]]) -> None:
    """Name and value a line, absent values left out."""
    from rich.text import Text

    kept = [(name, value) for name, value in pairs if value not in (None, "", [], {}, ())]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        console.print(Text(f"{visible(name):<{width}}  ", "dim") + Text(cell(value)))


def cell(value: Any) -> str:
    """A value as a person reads it, on one line."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{cell(name)} {cell(member)}" for name, member in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(member) for member in value)
    return visible(str(value))


def when(time: str | None) -> str:
    """An RFC 3339 time as `2026-01-31 12:00:00`, UTC."""
    if not time:
        return MISSING
    return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def bar(value: float, greatest: float, width: int = 12) -> str:
    """`value` as a bar to the left or right of 0; each side has `width` characters, which `greatest` fills.

    >>> bar(0.5, 1.0, 4), bar(-1.0, 1.0, 4)
    ('    │██  ', '████│    ')
    """
    length = min(round(abs(value) / greatest * width), width) if greatest > 0 else 0
    left, right = (length, 0) if value < 0 else (0, length)
    return f"{'█' * left:>{width}}│{'█' * right:<{width}}"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The last `width` values as a line of bars from 0 to the greatest.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    shown = [max(value, 0.0) for value in values][-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return BARS[0] * len(shown)
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in shown)
