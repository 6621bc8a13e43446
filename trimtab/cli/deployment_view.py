"""A deployment, drawn for a person."""

from typing import TYPE_CHECKING, Any

from trimtab.cli.output import facts, table, when

if TYPE_CHECKING:
    from rich.console import Console


def draw_deployment(console: "Console", deployment: dict[str, Any]) -> None:
    """One deployment: who answers, by which graphs and options, and what the replicas make of it."""
    facts(
        console,
        [
            ("model", deployment["model_id"]),
            ("routes", ", ".join(_shares(deployment)) or "none: nothing is served"),
            ("shadow", (deployment.get("shadow") or {}).get("version")),
            ("fallback", (deployment.get("fallback") or {}).get("version")),
            ("fallback model", deployment.get("fallback_model")),
            ("fallback constant", (deployment.get("fallback_constant") or {}).get("prediction")),
            ("sticky key", deployment.get("sticky_key")),
            ("revision", deployment.get("revision")),
            ("since", when(deployment.get("since"))),
            ("reason", deployment.get("reason")),
        ],
    )
    chosen = _chosen(deployment.get("options") or {})
    if chosen:
        table(console, ("option", "value"), chosen)
    graphs = _graphs(deployment)
    if graphs:
        table(console, _REPORT, [_report(version, report) for version, report in graphs.items()])
    rows = [_replica(replica) for replica in deployment.get("replicas", ())]
    if rows:
        table(console, ("replica", "state", "revision", "versions", "why"), rows)


def draw_deployments(console: "Console", deployments: list[dict[str, Any]]) -> None:
    """One line a model."""
    rows = [
        (
            each["model_id"],
            ", ".join(_shares(each)) or "none",
            each["revision"],
            when(each["since"]),
            each["converged"],
            len(each["replicas"]),
        )
        for each in deployments
    ]
    table(console, ("model", "routes", "revision", "since", "converged", "replicas"), rows, empty="nothing is deployed")


def draw_report(console: "Console", report: dict[str, Any]) -> None:
    """What a smaller graph loses and wins."""
    table(console, _REPORT[1:], [_report("", report)[1:]])


_REPORT = ("version", "graph", "loss", "bound", "measured as", "rows", "size", "time")


def _report(version: str, report: dict[str, Any]) -> tuple[Any, ...]:
    return (
        version,
        report["kind"],
        float(report["loss"]),
        float(report["bound"]),
        report["metric"],
        report["rows"],
        f"{report['bytes_before']:,} -> {report['bytes_after']:,} B",
        f"{report['seconds_before'] * 1e3:.3g} -> {report['seconds_after'] * 1e3:.3g} ms",
    )


def _graphs(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The report of each version that is served by a smaller graph."""
    routes = [*deployment.get("routes", ()), deployment.get("shadow"), deployment.get("fallback")]
    return {route["version"]: route["quantized"]["report"] for route in routes if route and route.get("quantized")}


def _shares(deployment: dict[str, Any]) -> list[str]:
    return [
        f"{route['version']}{_kind(route)} {route['weight']:g} % ({route['name']})"
        for route in deployment.get("routes", ())
    ]


def _kind(route: dict[str, Any]) -> str:
    return f" {route['quantized']['kind']}" if route.get("quantized") else ""


def _chosen(options: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of the options that somebody chose: what is not as it is without them."""
    found: list[tuple[str, Any]] = []
    for name, value in options.items():
        dotted = f"{before}{name}"
        if isinstance(value, dict) and dotted != "log.redact":
            found += _chosen(value, f"{dotted}.")
        elif value not in (None, {}, _UNCHOSEN.get(dotted)):
            found.append((dotted, value))
    return found


_UNCHOSEN: dict[str, Any] = {"pinned": False, "log.sample": 1.0}


def _replica(replica: dict[str, Any]) -> tuple[Any, ...]:
    versions = [f"{version['version']}{_served(version)} {version['state']}" for version in replica["versions"]]
    reasons = [f"{version['version']}: {version['detail']}" for version in replica["versions"] if version.get("detail")]
    return replica["replica"], replica["state"], replica.get("revision"), versions, "; ".join(reasons)


def _served(version: dict[str, Any]) -> str:
    return f" {version['quantized']}" if version.get("quantized") else ""
