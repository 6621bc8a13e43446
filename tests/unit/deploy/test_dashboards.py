"""Prometheus and Grafana ask only for metrics that the code has, with labels that they carry."""

import ast
import json
import re
import runpy
from pathlib import Path
from typing import Any, TypeGuard

import pytest
import yaml

from services.kernel.settings import SERVICES, Settings

ROOT = Path(__file__).parents[3]
OF_THE_CLIENT = {"process_resident_memory_bytes"}
OF_PROMETHEUS = {"up"}
FUNCTIONS = {"sum", "max", "by", "rate", "increase", "histogram_quantile", "topk", "label_values", "or", "le"}
SCRAPED = {"service", "instance", "job"}


def declared() -> dict[str, set[str]]:
    """Every metric of the code as Prometheus sees it, with its labels, read from the source."""
    found: dict[str, set[str]] = {}
    for path in [*ROOT.glob("services/**/*.py"), *ROOT.glob("trimtab/**/*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        lists = {
            target.id: node.value
            for node in nodes
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Constant) and is_metric(node.value):
                found.setdefault(node.value, set())
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.args[0].value
                if is_metric(name):
                    given = [*node.args, *(keyword.value for keyword in node.keywords)]
                    found.setdefault(name, set()).update(label for item in given for label in texts(item, lists))
    for name in [*found]:
        for suffix in ("_total", "_bucket", "_sum", "_count"):
            found.setdefault(name + suffix, set()).update(found[name])
    return found


def is_metric(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(r"(ml|trimtab)_[a-z0-9_]+", value) is not None


def texts(node: ast.expr, lists: dict[str, ast.List]) -> list[str]:
    """The strings of a list, be it written out, named, or taken up with a star."""
    if isinstance(node, ast.Name) and node.id in lists:
        return texts(lists[node.id], {})
    if not isinstance(node, ast.List):
        return []
    return [
        text
        for item in node.elts
        for text in (texts(item.value, lists) if isinstance(item, ast.Starred) else [getattr(item, "value", "")])
    ]


METRICS = declared()
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/trimtab.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


EXPRESSIONS = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"] for panel in panels() for target in panel["targets"]
    },
    "variable model": DASHBOARD["templating"]["list"][0]["query"]["query"],
}


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_every_metric_exists(place: str) -> None:
    expression = re.sub(r'"[^"]*"|\[[^]]*\]', "", EXPRESSIONS[place])
    selectors = re.sub(r"by \([^)]*\)|\{[^}]*\}", "", expression)
    names = set(re.findall(r"[a-z_]{2,}", selectors)) - FUNCTIONS - OF_THE_CLIENT - OF_PROMETHEUS
    unknown = {name for name in names if name not in METRICS} - {"model"}
    assert unknown == set()


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_every_grouping_label_is_one_the_metric_has(place: str) -> None:
    expression = EXPRESSIONS[place]
    names = [name for name in re.findall(r"[a-z_]{3,}", expression) if name in METRICS and not name.startswith("up")]
    labels = {label for name in names for label in METRICS[name]} | SCRAPED | {"le"}
    asked = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    assert asked <= labels, asked - labels


def test_the_dashboard_is_what_its_program_writes() -> None:
    program = runpy.run_path(str(ROOT / "deploy/grafana/build.py"))
    assert program["text"]() == (ROOT / "deploy/grafana/dashboards/trimtab.json").read_text()


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["remedy"]


def test_every_process_is_scraped_at_its_port() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    found = {entry["labels"]["service"]: entry["targets"] for entry in job["static_configs"]}
    settings = Settings()
    assert found == {name: [f"{name}:{settings.port_of(name)}"] for name in SERVICES}
    assert job["authorization"]["credentials_file"] == "/run/secrets/trimtab_internal_key"


def test_grafana_finds_its_datasource_and_its_dashboard() -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/trimtab.yml").read_text())["providers"]
    uids = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert uids == {source["uid"]}
    grafana = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
