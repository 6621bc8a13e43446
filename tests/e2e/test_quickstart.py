"""docs/quickstart.md, run as it is written against a real cluster."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until_sync

pytestmark = [pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


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
