"""docs/quickstart.md, run as it is written against a real cluster."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kernel.settings import SERVICES
from tests.waiting import until_sync
from trimtab.local.ports import free_ports

pytestmark = [pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


@pytest.fixture
def cluster_url(tmp_path: Path, broker_jars: Path) -> Iterator[str]:
    """Where a fresh cluster of the services that the page needs answers."""
    names = [*(f"{name}_port" for name in SERVICES), "metrics_port", "broker_port", "broker_controller_port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {**os.environ, **{f"TRIMTAB_{name.upper()}": str(port) for name, port in ports.items()}}
    chosen = ("--only", "registry,serving,monitor", "--data-dir", str(tmp_path / "data"))
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "up", "--json", *chosen],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == "up":
                yield told["url"]
                return
        raise AssertionError(f"the cluster ended with {process.wait()} and was never up")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def blocks() -> list[str]:
    """The page's Python, in order."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_quickstart_works_as_it_is_written(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_URL", cluster_url)
    first, labels = blocks()
    said: dict[str, Any] = {}
    exec(compile(first, str(PAGE), "exec"), said)  # noqa: S102
    client, model, held, answers = said["client"], said["model"], said["held"], said["answers"]

    assert len(first.splitlines()) < 25
    assert [answer["prediction"] for answer in answers] == [str(label) for label in model.predict(held)]
    for answer, own in zip(answers, model.predict_proba(held).tolist(), strict=True):
        assert answer["probabilities"] == pytest.approx(dict(zip(("0", "1"), own, strict=True)), abs=1e-4)
    assert "no drift" in capsys.readouterr().out

    registered = client.version("tumours", said["version"])
    assert registered["framework"] == "scikit-learn"
    assert registered["stage"] == "production"
    assert registered["metrics"]["accuracy"] == model.score(held, said["held_truth"])
    assert [feature["name"] for feature in registered["signature"]["inputs"]] == list(held.columns)

    exec(compile(labels, str(PAGE), "exec"), said)  # noqa: S102
    until_sync(lambda: client.drift("tumours")["rows_counted"] == len(held), 60, "the monitor to count every row")
    report = client.drift("tumours")
    assert report["baseline"]["rows"] == len(held)
    until_sync(
        lambda: (client.drift("tumours")["performance"]["current"] or {}).get("labelled_rows") == 1, 60, "the label"
    )
    client.close()
