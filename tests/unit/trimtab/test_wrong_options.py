"""Options that can't be sent are refused with a sentence that names them, before anything is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.trimtab.installation import Installation, running
from trimtab.cli.root import app
from trimtab.client import Client
from trimtab.errors import InvalidInput, TrimtabError


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "ftp://x",
        "http://[::bad",
        "127.0.0.1:3006",
        "http://",
        "http://h:99999",
        "http://h\n",
        "http://h:0",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(TrimtabError, match=r"--url \(TRIMTAB_URL\) is '.*give an address such as http"):
        CliRunner().invoke(app, ["models", "list", "--url", url], catch_exceptions=False)


@pytest.mark.parametrize("key", ["ключ", "two words", "key\n", "\udcff"])
def test_a_key_that_is_none_is_not_shown(installation: Installation, key: str) -> None:
    with pytest.raises(TrimtabError, match=r"--api-key \(TRIMTAB_API_KEY\) is no key") as caught:
        Client(installation.url, api_key=key)
    assert key not in caught.value.detail


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("history", "m", "--at", ""), "--at: '' is not a time"),
        (("history", "m", "--at", "0001-01-01T00:00:00+10:00"), "--at: .* is not a time"),
        (("alias", "m", "champion", "--at", ""), "--at: '' is not a time"),
        (("annotate", "m", "1.0.0", "--description", "a \udcff b"), r"'.*a \\udcff' can't be sent; give text in UTF-8"),
        (("list", "--cursor", "\udcff"), r"cursor: '\\udcff' can't be sent"),
        (("show", "\udcff"), r"'\\udcff' is not an id: give text in UTF-8"),
    ],
)
def test_a_value_that_can_not_be_sent(installation: Installation, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        CliRunner().invoke(app, ["models", *arguments, "--url", installation.url], catch_exceptions=False)
    assert not installation.asked


def test_files_that_can_not_be_registered(installation: Installation, tmp_path: Path) -> None:
    model, about = tmp_path / "model.onnx", tmp_path / "about.yaml"
    model.write_bytes(b"graph")
    for text in ("trained: 2026-01-31", "metrics: {f1: .nan}", 'description: "\\ud800"'):
        about.write_text(text)
        command = ["models", "register", str(model), "--model-id", "m", "--metadata", str(about)]
        with pytest.raises(InvalidInput, match=r"can't be (sent|read)|neither JSON nor YAML"):
            CliRunner().invoke(app, [*command, "--url", installation.url], catch_exceptions=False)
    command = ["models", "register", "/proc/self/mem", "--model-id", "m", "--url", installation.url]
    with pytest.raises(InvalidInput, match=r"/proc/self/mem can't be read \(Input/output error\)"):
        CliRunner().invoke(app, command, catch_exceptions=False)
