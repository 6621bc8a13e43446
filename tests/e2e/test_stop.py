"""The end of a kept demo. By its name it comes after the other tests of this folder."""

import psutil
import pytest

from tests.e2e.conftest import Demo
from tests.waiting import until_sync

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("demo")]


def test_it_stops_in_order_and_leaves_no_process(demo: Demo) -> None:
    family = psutil.Process(demo.process.pid).children(recursive=True)
    assert len(family) >= 8
    assert demo.stop() == 0
    until_sync(lambda: not any(child.is_running() for child in family), 10, "the end of every child")
