"""`trimtab explain`, `trimtab models importance` and the clients' methods behind them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.trimtab.installation import Installation, running
from trimtab import AsyncClient, Client
from trimtab.cli.output import bar
from trimtab.cli.root import app
from trimtab.errors import InvalidInput

EXPLANATION: dict[str, Any] = {
    "model_id": "m",
    "version": "1.0.0",
    "prediction": "dos",
    "probabilities": {"dos": 0.9, "normal": 0.1},
    "kind": "probability",
    "class": "dos",
    "base_value": 0.4,
    "output": 0.9,
    "contributions": [
        {"feature": "src_bytes", "value": 0.0, "contribution": 0.6},
        {"feature": "service", "value": "http\x1b[31m", "contribution": -0.3},
        {"feature": "count", "value": None, "contribution": 0.2},
    ],
    "additivity_error": 1e-9,
    "fidelity": None,
    "method": "shapley",
    "algorithm": "permutation",
    "samples": 996,
    "seed": 0,
    "background_rows": 100,
    "elapsed_ms": 63.0,
}
IMPORTANCE: dict[str, Any] = {
    "model_id": "m",
    "version": "1.0.0",
    "state": "ready",
    "method": "shapley",
    "rows": 200,
    "rows_done": 200,
    "background_rows": 50,
    "features": [
        {"feature": "src_bytes", "importance": 0.2, "standard_error": 0.01},
        {"feature": "count", "importance": 0.1, "standard_error": 0.02},
    ],
    "feature_count": 41,
}
TREND: dict[str, Any] = {
    "model_id": "m",
    "method": "shapley",
    "versions": ["1.0.0", "1.1.0", "1.2.0"],
    "features": [
        {"feature": "count", "importance": [0.1, None, 0.3], "standard_error": [0.0, None, 0.0], "change": 0.2},
        {"feature": "new", "importance": [None, None, 0.2], "standard_error": [None, None, 0.0], "change": None},
    ],
    "feature_count": 2,
    "pending": [],
    "failed": {"0.9.0": "no baseline sample"},
    "computing": None,
}


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


def run(installation: Installation, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--url", installation.url], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_an_explanation_is_a_table_with_a_bar_a_feature(installation: Installation) -> None:
    installation.answer("POST", "/mlops/explain", EXPLANATION)
    row = '{"src_bytes": 0.0, "service": "http", "count": null}'
    options = ("--method", "shapley", "--class", "dos", "--seed", "3", "--limit", "2")
    shown = run(installation, "explain", "m:1.0.0", "--input", row, *options)
    assert installation.asked[0].document == {
        "model_id": "m",
        "version": "1.0.0",
        "input": json.loads(row),
        "method": "shapley",
        "class": "dos",
        "seed": 3,
    }
    assert "probability of dos" in shown
    assert "+0.6000" in shown
    assert "│████████████" in shown
    assert "██████│" in shown
    assert "1 more features add +0.2000" in shown
    assert "\x1b[31m" not in shown


def test_an_explanation_as_json_is_the_answer(installation: Installation) -> None:
    installation.answer("POST", "/mlops/explain", EXPLANATION)
    shown = run(installation, "explain", "m@champion", "--input", "{}", "--json")
    assert json.loads(shown) == EXPLANATION
    assert installation.asked[0].document["version"] == "@champion"


def test_importance_is_a_table_and_waits_for_what_is_pending(installation: Installation) -> None:
    installation.answer("GET", "/mlops/models/m/importance", IMPORTANCE)
    shown = run(installation, "models", "importance", "m:1.0.0", "--limit", "2")
    assert installation.asked[0].path == "/mlops/models/m/importance?version=1.0.0&limit=2"
    assert "src_bytes" in shown
    assert "█" * 24 in shown
    assert "39 more features" in shown
    installation.answer("GET", "/mlops/models/m/importance", {**IMPORTANCE, "state": "pending", "rows_done": 5})
    assert "5 of 200 rows" in run(installation, "models", "importance", "m", "--wait", "0")


def test_a_trend_is_a_sparkline_a_feature(installation: Installation) -> None:
    installation.answer("GET", "/mlops/models/m/importance/trend", TREND)
    shown = run(installation, "models", "importance", "m", "--trend")
    assert "▃▁█" in shown
    assert "+0.2" in shown
    assert "0.9.0: no baseline sample" in shown
    with pytest.raises(InvalidInput, match="give its id alone"):
        run(installation, "models", "importance", "m:1.0.0", "--trend")


async def test_both_clients_explain_one_row_or_several(installation: Installation) -> None:
    installation.answer("POST", "/mlops/explain", EXPLANATION)
    installation.answer("GET", "/mlops/models/m/importance", IMPORTANCE)
    installation.answer("GET", "/mlops/models/m/importance/trend", TREND)
    async with AsyncClient(installation.url) as client:
        assert await client.explain("m", {"x": 1.0}, method="lime", target="dos", samples=100) == EXPLANATION
        assert (await client.importance("m"))["state"] == "ready"
        assert (await client.importance_trend("m", versions=3))["pending"] == []
    with Client(installation.url) as plain:
        plain.explain("m", [{"x": 1.0}, {"x": 2.0}])
        with pytest.raises(InvalidInput, match="'x'"):
            plain.explain("m", {"x": float("nan")})
    one, many = (asked.document for asked in installation.asked if asked.method == "POST")
    assert one == {"model_id": "m", "input": {"x": 1.0}, "method": "lime", "class": "dos", "samples": 100}
    assert many == {"model_id": "m", "inputs": [{"x": 1.0}, {"x": 2.0}]}
    assert [a.path for a in installation.asked if a.method == "GET"][1].endswith("trend?versions=3")


@pytest.mark.parametrize(
    ("value", "greatest", "drawn"),
    [(0.0, 0.0, "  │  "), (2.0, 1.0, "  │██"), (-0.5, 1.0, " █│  "), (1e-9, 1.0, "  │  ")],
)
def test_bars_stay_within_their_width(value: float, greatest: float, drawn: str) -> None:
    assert bar(value, greatest, 2) == drawn
