"""A version's card as a page of Markdown. Pure. Nothing that somebody wrote can be more than text on it."""

import json
import shlex
from typing import Any

from services.registry.insight.escaping import fenced, line, paragraphs, table

Card = dict[str, Any]


def page_of(card: Card) -> str:
    """The page. Sections of which nothing is known are left out."""
    sections = [
        _head(card),
        _section("Intended use", paragraphs(card["description"]) or "Nobody has described it yet."),
        _section("What changed", paragraphs(card["changes"])),
        _section("Metrics", _metrics(card)),
        _section("Data", _data(card["data"])),
        _section("Inputs", _inputs(card["inputs"])),
        _section("Outputs", _outputs(card)),
        _section("Hyper-parameters", _pairs(card["hyperparameters"], "parameter")),
        _section("Lineage", fenced(card["mermaid"], "mermaid")),
        _section("History", _history(card)),
        _section("Approvals", _approvals(card)),
        _section("Checks", _checks(card)),
        _section("Compliance", _controls(card)),
        _section("Signatures", _signatures(card)),
        _section("Integrity", _integrity(card["integrity"])),
        _section("How to call it", _call(card)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _head(card: Card) -> str:
    facts = [
        (
            "Model",
            f"{line(card['model_name'])} (`{card['model_id']}`)" if card["model_name"] else f"`{card['model_id']}`",
        ),
        ("Type", line(card["model_type"])),
        ("Framework", line(card["framework"])),
        ("Stage", f"**{card['stage']}** since {card['stage_since']}"),
        ("Aliases", ", ".join(f"`@{alias}`" for alias in card["aliases"])),
        ("Registered", f"{card['registered_at']} by {line(card['registered_by'])}"),
        ("Parent", f"`{card['parent_version']}`" if card["parent_version"] else ""),
        ("Tags", ", ".join(f"{line(name)} = {line(value)}" for name, value in card["tags"].items())),
    ]
    rows = [(name, value) for name, value in facts if value]
    return f"# {card['model_id']} {card['version']}\n\n{table(('', ''), rows)}"


def _metrics(card: Card) -> str:
    if not card["metrics"]:
        return ""
    parent = card["parent_version"]
    if parent is None or all(each["parent"] is None for each in card["metrics"]):
        return table(("metric", "value"), [(line(each["name"]), _number(each["value"])) for each in card["metrics"]])
    rows = [
        (line(each["name"]), _number(each["value"]), _number(each["parent"]), _delta(each)) for each in card["metrics"]
    ]
    return table(("metric", "value", f"parent {parent}", "change"), rows)


def _delta(metric: dict[str, Any]) -> str:
    if metric["delta"] is None:
        return ""
    judged = " better" if metric["better"] else " worse" if metric["worse"] else ""
    return f"{metric['delta']:+.4g}{judged}"


def _data(data: dict[str, Any]) -> str:
    parts = []
    if data["dataset_digest"]:
        parts.append(f"Dataset: {line(data['dataset_digest'])}")
    if data["rows"] is not None:
        parts.append(f"The drift baseline has {data['rows']:,} rows.")
    if data["features"]:
        rows = [
            (
                line(each["name"]),
                str(each["kind"]),
                _number(each["mean"]),
                _number(each["std"]),
                _range(each["minimum"], each["maximum"]),
                "" if each["missing"] is None else f"{each['missing']:.1%}",
                ", ".join(map(line, each["categories"] or ())),
            )
            for each in data["features"]
        ]
        parts.append(table(("feature", "kind", "mean", "std", "range", "missing", "most frequent"), rows))
    return "\n\n".join(parts)


def _inputs(inputs: list[dict[str, Any]]) -> str:
    rows = [
        (
            line(each["name"]),
            each["dtype"] + _shape(each),
            "may be missing" if each.get("nullable") else "required",
            _range(each.get("minimum"), each.get("maximum")),
            ", ".join(map(line, each.get("categories") or ())),
        )
        for each in inputs
    ]
    return table(("input", "type", "", "range", "categories"), rows)


def _outputs(card: Card) -> str:
    rows = [(line(each["name"]), each["dtype"] + _shape(each), each.get("role", "value")) for each in card["outputs"]]
    classes = f"\n\nClasses: {', '.join(map(line, card['classes']))}" if card["classes"] else ""
    return table(("output", "type", "role"), rows) + classes


def _pairs(values: dict[str, Any], heading: str) -> str:
    rows = [(line(name), _plain(value)) for name, value in values.items()]
    return table((heading, "value"), rows) if rows else ""


def _history(card: Card) -> str:
    rows = []
    for move in card["history"]:
        stages = f"{move['from_stage'] or 'registered'} → {move['to_stage']}"
        rows.append((move["at"], stages, line(move["actor"]), line(move["comment"])))
    return table(("when", "move", "who", "why"), rows) if rows else ""


def _approvals(card: Card) -> str:
    rows = [
        (each["at"], each["stage"], each["decision"], line(each["actor"]), line(each["comment"]))
        for each in card["approvals"]
    ]
    return table(("when", "for", "decision", "who", "why"), rows) if rows else ""


def _checks(card: Card) -> str:
    rows = []
    for each in card["checks"]:
        result = "passed" if each["passed"] else "**failed**"
        rows.append((each["at"], line(each["name"]), result, line(each["actor"]), line(each["detail"])))
    return table(("when", "check", "result", "who", "detail"), rows) if rows else ""


def _controls(card: Card) -> str:
    rows = []
    for each in card["controls"]:
        told = "; ".join(
            f"{line(name)}: {line(value if isinstance(value, str) else json.dumps(value))}"
            for name, value in each.items()
            if name != "control_id" and value not in (None, "", [], {})
        )
        rows.append((line(each["control_id"]), told))
    return table(("control", ""), rows) if rows else ""


def _signatures(card: Card) -> str:
    rows = [
        (line(each["signer"] or "unknown"), f"`{each['key_sha256']}`", each["at"], "revoked" if each["revoked"] else "")
        for each in card["signatures"]
    ]
    return table(("signer", "key (SHA-256)", "when", ""), rows) if rows else ""


def _integrity(integrity: dict[str, Any]) -> str:
    rows = [
        ("content digest", f"`{integrity['content_digest']}`"),
        ("manifest digest", f"`{integrity['manifest_digest']}`"),
        ("size", f"{integrity['size_bytes']:,} bytes"),
    ]
    if integrity["bytes_dropped_at"]:
        rows.append(("files", f"given up by the retention policy at {integrity['bytes_dropped_at']}"))
    files = [(line(each["path"]), f"{each['size']:,}", f"`{each['sha256']}`") for each in integrity["files"]]
    return f"{table(('', ''), rows)}\n\n{table(('file', 'bytes', 'SHA-256'), files)}"


def _call(card: Card) -> str:
    body = shlex.quote(json.dumps(card["call"]["body"]))
    return fenced(
        f'curl "$TRIMTAB_URL{card["call"]["path"]}" -H "Authorization: Bearer $TRIMTAB_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' -d {body}",
        "sh",
    )


def _plain(value: Any) -> str:
    return line(value if isinstance(value, str) else json.dumps(value))


def _shape(described: dict[str, Any]) -> str:
    return "".join(f"[{size}]" for size in described.get("shape", ())).replace("][", "×")


def _range(least: float | None, greatest: float | None) -> str:
    if least is None and greatest is None:
        return ""
    return f"{'' if least is None else f'{least:g}'} … {'' if greatest is None else f'{greatest:g}'}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
