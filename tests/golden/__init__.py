"""Files that a release wrote, which today's code must read."""

from pathlib import Path

SEGMENTS = Path(__file__).parent / "segments"
"""Segments of the prediction log: three rows of `serving_models.TABLE`, the last failed, then one of `VECTOR`."""
