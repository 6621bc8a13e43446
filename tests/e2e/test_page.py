"""The page in a real browser, after the story: it shows what is true."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Page, page
from tests.e2e.conftest import Demo
from tests.waiting import until_sync
from trimtab import Client
from trimtab.demo.plan import MODEL_ID

MINE = f"[data-model={MODEL_ID}]"

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def shown(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, loaded."""
    profile = tmp_path_factory.mktemp("chromium")
    with page(profile) as tab:
        tab.open(demo.url)
        until_sync(lambda: tab.texts("section.model h2 code"), 20, "the page")
        yield tab
        tab.screenshot(profile / "page.png")


def test_versions_and_stages(shown: Page, demo: Demo) -> None:
    result = demo.line("result")
    rows = shown.texts(f"{MINE} tr.version")
    assert MODEL_ID in shown.texts("section.model h2 code")
    assert result["challenger"] in rows[0]
    assert "production" in rows[0]
    assert result["champion"] in rows[1]
    assert "archived" in rows[1]


def test_what_is_deployed_wanted_and_actual(shown: Page, demo: Demo) -> None:
    challenger = demo.line("result")["challenger"]
    (route,) = shown.texts("p.route")
    assert challenger in route
    assert "100 %" in route
    replicas = [row for row in shown.texts("tr.replica") if challenger in row]
    assert len(replicas) == 1
    assert "converged" in replicas[0]
    assert "ready since" in replicas[0]


def test_drift_of_every_feature(shown: Page, demo: Demo) -> None:
    with Client(demo.url) as client:
        report = client.drift(MODEL_ID)
    watched = set(report["history"][-1]["features"])
    assert set(shown.texts("tr.feature td:first-child")) == watched
    assert len(watched) >= 41
    assert "accuracy" in shown.texts("p.performance")[0]


def test_the_loops_steps_and_the_jobs(shown: Page) -> None:
    steps = shown.texts("tr.step .stage")
    assert steps == ["promoted", "rolling_out", "canary", "proving", "training", "gathering", "noticed"]
    assert len(shown.texts("tr.job .succeeded")) == 2


def test_every_service_is_there(shown: Page) -> None:
    assert sorted(shown.texts(".dot.good")) == ["loop", "monitor", "registry", "serving", "trainer", "tuner"]
    assert shown.texts(".note") == []


def test_it_follows_the_traffic_by_itself(shown: Page, demo: Demo) -> None:
    path = demo.folder / "demo" / "calm.csv"
    header, *lines = path.read_text().splitlines()
    with Client(demo.url) as client:
        inputs = client.version(MODEL_ID, demo.line("result")["challenger"])["signature"]["inputs"]
        texts = {feature["name"] for feature in inputs if feature["dtype"] == "string"}
        cells = dict(zip(header.split(","), lines[0].split(","), strict=True))
        names = [feature["name"] for feature in inputs]
        row = {name: cells[name] if name in texts else float(cells[name]) for name in names}

        def busy() -> bool:
            client.predict_batch(MODEL_ID, [row] * 10)
            return any(rate != "0" for rate in shown.texts(f"{MINE} .rate"))

        until_sync(busy, 20, "a rate above 0 on the page")


def test_nothing_was_refused_and_no_script_failed(shown: Page) -> None:
    assert shown.complaints == []


def test_the_page_is_whole_without_a_script(demo: Demo, tmp_path: Path) -> None:
    with Client(demo.url) as client:
        from trimtab.calls import Call

        html = client.send(Call("GET", "/"))
    assert demo.line("result")["challenger"] in html
    assert '<noscript><meta http-equiv="refresh"' in html
