"""The disk begins to write while more comes."""

import os
from pathlib import Path

import pytest

from services.registry.arrivals import writeback
from services.registry.arrivals.partials import Partials

MIB = 1 << 20


def test_every_few_mebibytes_the_disk_is_asked_for_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(writeback, "_sync_file_range", lambda _, *rest: asked.append(rest))
    partials = Partials(tmp_path, 1 << 30, 3600)
    partial = partials.open("ada", "0" * 64, 40 * MIB)
    for _ in range(20):
        partial.write(bytes(MIB))
    partial.close()
    assert asked == [(0, 8 * MIB, 2), (8 * MIB, 8 * MIB, 2)]
    asked.clear()
    again = partials.open("ada", "0" * 64, 40 * MIB)
    for _ in range(8):
        again.write(bytes(MIB))
    again.close()
    assert asked == [(20 * MIB, 8 * MIB, 2)], "what came before is not asked for again"


def test_the_kernel_knows_the_call(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(bytes(MIB))
        assert writeback._sync_file_range(file.fileno(), 0, MIB, 2) == 0
        assert os.fstat(file.fileno()).st_size == MIB
