"""Writes the parts of docs/architecture that follow from the code: the topics table and the settings.

    python docs/build.py

A generated part stands between `<!-- NAME: written by docs/build.py -->` and `<!-- end -->`.
"""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from schemas.topics import DAY_MS, TOPICS, Topic
from services.kernel.settings import SERVICES, Settings

PAGES = Path(__file__).parent / "architecture"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def topics_table() -> str:
    """The topics, as `schemas/topics.py` has them."""
    return table(
        ["topic", "key", "carries", "from", "to", "partitions", "kept"],
        [
            [
                f"`{topic.name}`",
                f"`{topic.key}`",
                ", ".join(message.__name__ for message in topic.messages),
                topic.producers,
                topic.consumers,
                str(topic.partitions),
                _kept(topic),
            ]
            for topic in TOPICS
        ],
    )


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "newest of each key"
    return "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days"


def settings_tables() -> str:
    """Every setting of every process."""
    from trimtab.local.settings import LocalSettings

    parts = ["## Every process", _settings_of(Settings)]
    for name in SERVICES:
        module = importlib.import_module("trimtab.ui.settings" if name == "ui" else f"services.{name}.settings")
        (kind,) = [
            k for k in vars(module).values() if inspect.isclass(k) and issubclass(k, Settings) and k is not Settings
        ]
        parts += [f"## {name}", _settings_of(kind)]
    parts += ["## The local cluster (`trimtab up`, `trimtab demo`)", _settings_of(LocalSettings)]
    return "\n\n".join(parts)


def _settings_of(kind: type[Settings]) -> str:
    rows = []
    for name, text in _field_docs(kind).items():
        field = kind.model_fields[name]
        rows.append([", ".join(f"`{variable}`" for variable in _variables(name, field)), _default(field), text])
    return table(["variable", "default", "what it is"], rows) if rows else "None of its own."


def _field_docs(kind: type[Settings]) -> dict[str, str]:
    """The fields that `kind` itself defines, with the string below each."""
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id in kind.model_fields
        ):
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not documented:
                raise SystemExit(f"{kind.__name__}.{node.target.id} has no line that says what it is")
            assert isinstance(after, ast.Expr)
            assert isinstance(after.value, ast.Constant)
            found[node.target.id] = " ".join(str(after.value.value).split())
    return found


def _variables(name: str, field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices if str(choice).isupper()]
    return [f"TRIMTAB_{name.upper()}"]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "see there"
    value = field.default
    return {None: "none", "": "empty", True: "on", False: "off"}.get(value, str(value)) if _plain(value) else str(value)


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | str)


def build() -> dict[Path, str]:
    """Page -> its whole text with the generated parts of today."""
    parts = {"topics": ("messages.md", topics_table()), "settings": ("settings.md", settings_tables())}
    pages = {}
    for name, (page, text) in parts.items():
        path = PAGES / page
        before = path.read_text(encoding="utf-8")
        pattern = rf"(<!-- {name}: written by docs/build\.py -->\n).*?(\n<!-- end -->)"
        found = list(re.finditer(pattern, before, flags=re.DOTALL))
        if len(found) != 1:
            raise SystemExit(f"{page} has no place for {name}")
        (place,) = found
        pages[path] = f"{before[: place.start()]}{place[1]}\n{text}\n{place[2]}{before[place.end() :]}"
    return pages


if __name__ == "__main__":
    for page, content in build().items():
        page.write_text(content, encoding="utf-8")
