"""The examples in the docstrings of the statistics are true."""

import doctest
from importlib import import_module

import pytest

MODULES = (
    *(f"services.monitor.drift.{name}" for name in ("smoothing", "psi", "kl", "jensen_shannon", "wasserstein")),
    *(f"services.monitor.{name}" for name in ("calibration", "labels", "performance", "skew", "watermark")),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted
    assert not result.failed
