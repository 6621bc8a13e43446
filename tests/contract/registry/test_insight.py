"""Cards, lineage and comparison of versions, as routes and as commands."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from schemas.baseline import Baseline, FeatureBaseline, Kind
from schemas.features import DType
from tests.contract.registry.conftest import Registry
from tests.contract.registry.test_governance_commands import Terminal, terminal
from tests.graphs import classifier
from trimtab import AsyncClient, Client

__all__ = ["terminal"]

MODEL = "threat-classifier"
HOSTILE = (
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://127.0.0.1/x.png)",
    "a | b\n\n# Heading\n\n- item",
    '`code`"]-->n1["',
    '```\n</div>\nclick n0 href "javascript:alert(1)"',
    "1. one\n---\n***bold***",
    "&lt;b&gt; &#60;",
)


async def two(registry: Registry) -> tuple[str, str]:
    """A version in production that is deployed, and its draft child with other figures."""
    first = (
        await registry.register(metrics={"f1": 0.5, "loss": 2.0}, hyperparameters={"lr": 0.1, "layers": [1]})
    ).json()["version"]
    await registry.promote(first, "staging")
    await registry.promote(first, "production")
    assert (await registry.deploy()).status_code == 202
    second = await registry.register(
        graph=classifier(1),
        files={"baseline.json": _baseline().to_bytes()},
        metrics={"f1": 0.75, "loss": 1.0, "n": 3},
        hyperparameters={"lr": 0.2, "layers": [1]},
        description="Finds attacks.\n\nNot for children.",
        changes="A larger network.",
        tags={"team": "red"},
        lineage={"job_id": "job-7", "dataset_digest": "d" * 64, "experiment_id": "exp-1", "trial": 4, "cycle_id": "c1"},
    )
    assert second.status_code == 201, second.text
    return first, str(second.json()["version"])


def _baseline() -> Baseline:
    feature = FeatureBaseline(
        name="protocol",
        column="protocol",
        kind=Kind.CATEGORY,
        dtype=DType.STRING,
        rows=4,
        counts=(2, 1, 0, 1),
        categories=("tcp", "udp"),
    )
    return Baseline(rows=4, features=(feature,))


async def test_a_baseline_with_figures_beyond_json_is_none(registry: Registry) -> None:
    """It registers, as any JSON does; cards and comparisons do without it."""
    feature = {"name": "x", "column": "x:x", "kind": "number", "dtype": "float64", "rows": 0, "counts": [0] * 2}
    feature |= {"edges": [], "gridCounts": [0, 0], "mean": "MEAN", "std": 1.0}
    text = json.dumps({"rows": 0, "features": [feature]})
    assert Baseline.model_validate_json(text.replace('"MEAN"', "1")).features[0].mean == 1
    found = []
    for seed, mean in enumerate(("1e999", "-1e999")):
        data = text.replace('"MEAN"', mean).encode()
        answer = await registry.register(graph=classifier(seed), files={"baseline.json": data})
        assert answer.status_code == 201, answer.text
        found.append(answer.json()["version"])
    for version in found:
        assert (await get(registry, f"{version}/card", format="json"))["data"]["features"] == []
        assert (await registry.client.get(f"/mlops/models/{MODEL}/{version}/card")).status_code == 200
    assert (await get(registry, "compare", a=found[0], b=found[1]))["baseline"] == []


async def get(registry: Registry, path: str, **query: str) -> Any:
    """The JSON at a path of the model."""
    answer = await registry.client.get(f"/mlops/models/{MODEL}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_two_versions_are_compared(registry: Registry) -> None:
    first, second = await two(registry)
    found = await get(registry, "compare", a=first, b=second)
    assert (found["a"]["version"], found["a"]["stage"], found["b"]["stage"]) == (first, "production", "draft")
    assert [(metric["name"], metric["better"]) for metric in found["metrics"]] == [
        ("f1", "b"),
        ("loss", "b"),
        ("n", "unknown"),
    ]
    assert found["hyperparameters"] == [{"name": "lr", "a": 0.1, "b": 0.2}]
    assert {"name": "job_id", "a": None, "b": "job-7"} in found["lineage"]
    assert [file["same"] for file in found["files"]] == [False, False]
    assert [each["name"] for each in found["baseline"]] == ["protocol"]
    assert (found["same_model"], found["same_interface"]) == (False, True)
    other = (await registry.register("other", classifier(2, extra="bytes"))).json()["version"]
    across = await get(registry, "compare", a=second, b=f"other:{other}")
    assert across["b"]["model_id"] == "other"
    assert [each["name"] for each in across["inputs"]] == ["bytes"]
    assert not across["same_interface"]


async def test_what_cannot_be_compared_is_said(registry: Registry) -> None:
    first, _ = await two(registry)
    for b, status in (("9.9.9", 404), ("other:1.0.0", 404), ("@none", 404), ("", 422), ("x", 422), ("a:b:1.0.0", 422)):
        answer = await registry.client.get(f"/mlops/models/{MODEL}/compare", params={"a": first, "b": b})
        assert answer.status_code == status, (b, answer.text)


async def test_lineage_goes_from_data_to_deployment(registry: Registry) -> None:
    first, second = await two(registry)
    found = await get(registry, f"{second}/lineage")
    kinds = {node["id"]: node["kind"] for node in found["nodes"]}
    edges = {(kinds[edge["source"]], edge["relation"], kinds[edge["target"]]) for edge in found["edges"]}
    assert edges == {
        ("data", "trained on", "job"),
        ("experiment", "asked for", "job"),
        ("cycle", "asked for", "job"),
        ("job", "made", "version"),
        ("version", "parent", "version"),
    }
    parent = await get(registry, f"{first}/lineage")
    assert {node["kind"] for node in parent["nodes"]} == {"version", "deployment"}
    assert {edge["relation"] for edge in parent["edges"]} == {"serves", "parent"}
    assert parent["complete"]
    near = await get(registry, f"{first}/lineage", depth="0")
    assert [node["kind"] for node in near["nodes"]] == ["version", "deployment"]
    assert not near["complete"]
    assert (await registry.client.get(f"/mlops/models/{MODEL}/9.9.9/lineage")).status_code == 404
    assert (await registry.client.get(f"/mlops/models/{MODEL}/{first}/lineage?depth=11")).status_code == 422


async def test_a_card_tells_all_there_is(registry: Registry) -> None:
    first, second = await two(registry)
    answer = await registry.client.get(f"/mlops/models/{MODEL}/{second}/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    page = answer.text
    for expected in (
        f"# {MODEL} {second}",
        "Finds attacks.\n\nNot for children.",
        "A larger network.",
        f"| metric | value | parent {first} | change |",
        "| f1 | 0.75 | 0.5 | +0.25 better |",
        "| loss | 1 | 2 | -1 better |",
        "The drift baseline has 4 rows.",
        "tcp, udp",
        "```mermaid\ngraph LR",
        "| registered → draft |",
        "content digest",
        "/mlops/predict",
    ):
        assert expected in page, expected
    card = await get(registry, f"{second}/card", format="json")
    assert card["metrics"][0] == {
        "name": "f1",
        "value": 0.75,
        "parent": 0.5,
        "delta": 0.25,
        "better": True,
        "worse": False,
    }
    assert card["call"]["body"]["input"] == {"duration": 0.0, "protocol": "text"}
    accepted = await registry.client.get(f"/mlops/models/{MODEL}/{second}/card", headers={"Accept": "application/json"})
    assert accepted.json() == card


async def test_what_somebody_wrote_is_text_on_a_card_and_nothing_else(registry: Registry) -> None:
    everything = "\n\n".join(HOSTILE)
    version = (
        await registry.register(
            model_name=HOSTILE[0],
            model_type=HOSTILE[1],
            description=everything,
            changes=everything,
            tags={HOSTILE[3].replace("\n", " "): HOSTILE[0]},
            metrics={"`m` | <i>": 1.0, HOSTILE[1]: 2.0},
            hyperparameters={HOSTILE[0]: HOSTILE[3], "x": {HOSTILE[4]: HOSTILE[5]}},
            lineage={"dataset_digest": HOSTILE[4] + HOSTILE[0]},
        )
    ).json()["version"]
    await registry.client.post(
        f"/mlops/models/{MODEL}/{version}/promote", json={"stage": "staging", "comment": everything}
    )
    page = (await registry.client.get(f"/mlops/models/{MODEL}/{version}/card")).text
    assert "<script" not in page
    assert "<i>" not in page
    assert not re.search(r"(?<!\\)\]\((?!\\)", page)
    headings = re.findall(r"^#+ .*$", page, re.MULTILINE)
    assert set(headings[1:]) == {
        *("## Intended use", "## What changed", "## Metrics", "## Data", "## Inputs", "## Outputs"),
        *("## Hyper-parameters", "## Lineage", "## History", "## Integrity", "## How to call it"),
    }
    fences = re.findall(r"^`{3,}.*$", page, re.MULTILINE)
    assert fences == ["```mermaid", "```", "```sh", "```"]
    mermaid = page.partition("```mermaid\n")[2].partition("\n```")[0]
    text = r'"[\w<>/ .:;#()-]*"'
    node = rf"  n\d+(\[\({text}\)\]|\(\[{text}\]\)|\[{text}\])"
    allowed = re.compile(rf"graph LR|{node}|  n\d+ -->\|[\w ]+\| n\d+|  style n\d+ stroke-width:3px")
    for each in mermaid.splitlines():
        assert allowed.fullmatch(each), each


async def test_commands_and_clients(terminal: Terminal, tmp_path: Path) -> None:
    first, second = await two(terminal.registry)
    for number in range(3):
        await terminal.registry.register(f"other-{number}", classifier(number + 5), description="others alike")
    found = await terminal.json("models", "search", "metrics.f1 >= 0.5", "--order-by", "metrics.f1 asc")
    assert [version["version"] for version in found["versions"]] == [first, second]
    assert "0.75" in await terminal.run("models", "search", "metrics.f1 > 0.5", "--text", "attacks")
    assert "nothing found" in await terminal.run("models", "search", "metrics.f1 > 1")
    paged = await terminal.run("models", "search", "--limit", "2")
    cursor = paged.partition("--cursor ")[2].partition(",")[0]
    rest = await terminal.json("models", "search", "--limit", "10", "--cursor", cursor)
    assert len(rest["versions"]) == 3
    assert len((await terminal.json("models", "search", "--all"))["versions"]) == 5
    assert len((await terminal.json("models", "list", "--all"))["models"]) == 4
    assert len((await terminal.json("models", "list", "--text", "alike", "--limit", "2"))["models"]) == 2
    said = await terminal.run("models", "diff", MODEL, first, second)
    assert "+0.25 (+50.0%) better" in said
    assert "hyperparameters.lr" in said
    assert "# threat-classifier" in await terminal.run("models", "card", MODEL, second)
    await terminal.run("models", "card", MODEL, second, "--out", str(tmp_path / "card.md"))
    assert "## Lineage" in tmp_path.joinpath("card.md").read_text()
    tree = await terminal.run("models", "lineage", MODEL, second)
    assert tree.index("comes from") < tree.index("job job-7") < tree.index("data dddd") < tree.index("led to")
    await terminal.run("models", "annotate", MODEL, second, "--changes", "smaller", "--tag", "a=b=c", "--tag", "team=")
    shown = await terminal.json("models", "show", MODEL, second)
    assert (shown["changes"], shown["tags"], shown["description"]) == (
        "smaller",
        {"a": "b=c"},
        "Finds attacks.\n\nNot for children.",
    )

    async with AsyncClient(terminal.url) as client:
        assert len(await client.search_all(at_most=4)) == 4
        assert [each["model_id"] for each in await client.search_all("model_id = other-1")] == ["other-1"]
        assert (await client.compare_versions(MODEL, first, second))["same_interface"]

    def synchronously() -> None:
        with Client(terminal.url) as client:
            assert json.loads(json.dumps(client.card(MODEL, second, format="json")))["version"] == second
            assert client.lineage(MODEL, second, depth=1)["root"] == f"version:{MODEL}:{second}"
            assert len(client.search_all()) == 5

    await asyncio.to_thread(synchronously)


@pytest.mark.parametrize("path", ["card", "lineage"])
async def test_what_is_not_there_is_a_404(registry: Registry, path: str) -> None:
    await registry.register()
    for where in (f"{MODEL}/9.9.9", "none/1.0.0", f"{MODEL}/@none"):
        assert (await registry.client.get(f"/mlops/models/{where}/{path}")).status_code == 404
