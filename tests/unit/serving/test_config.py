"""The server's configuration document on the disk."""

from pathlib import Path

import pytest

from services.kernel.errors import Unavailable
from services.serving.config import ServerConfig, write_config


def test_a_disk_that_does_not_take_it_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    taken = tmp_path / "serving.json"
    taken.mkdir()
    with pytest.raises(Unavailable, match=r"serving\.json can't be written, so nothing was changed: Is a directory"):
        write_config(taken, ServerConfig())
    assert list(tmp_path.iterdir()) == [taken]
