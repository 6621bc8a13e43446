"""Text that somebody wrote, as it may stand in Markdown: shown as it is, whatever signs it has. Pure."""

import html
import re
from collections.abc import Sequence

_SIGNS = re.compile(r"([\\`*_{}\[\]()#|~!$^])")
_AT_LINE_START = re.compile(r"^(\s*)([-+=:]|\d+(?=[.)]))")


def line(text: str) -> str:
    r"""`text` on one line: no sign of it is Markdown or HTML.

    >>> line("<b>a|b</b> [x](javascript:y)\n# no heading")
    '&lt;b&gt;a\\|b&lt;/b&gt; \\[x\\]\\(javascript:y\\) \\# no heading'
    """
    return _AT_LINE_START.sub(_guarded, inline(text))


def inline(text: str) -> str:
    """The same for text that stands within a line, after other words: signs that mean something only first stay."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return _SIGNS.sub(r"\\\1", html.escape(plain, quote=False))


def paragraphs(text: str) -> str:
    """`text` in its paragraphs, and no more structure than that."""
    found = re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())
    return "\n\n".join("  \n".join(line(each) for each in part.split("\n") if each.strip()) for part in found)


def fenced(text: str, language: str = "") -> str:
    """`text` as a code block whose fence does not occur in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of cells that are escaped already."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)])


def _guarded(found: "re.Match[str]") -> str:
    blank, sign = found.groups()
    return f"{blank}&#{ord(sign[0])};{sign[1:]}"
