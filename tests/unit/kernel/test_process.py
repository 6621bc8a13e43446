"""How a process begins."""

import gc
from types import SimpleNamespace
from typing import Any, cast

from services.kernel.service import Service, _start


async def test_what_lives_as_long_as_the_process_is_looked_at_by_no_later_collection() -> None:
    kept: list[Any] = []

    async def start() -> None:
        kept.append([])

    try:
        await _start(cast(Service, SimpleNamespace(start=start)))
        assert gc.get_freeze_count() > len(kept)
        assert not any(each is kept[0] for each in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(each is kept[0] for each in gc.get_objects())
