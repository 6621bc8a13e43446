"""Names of metrics and tags, and values of tags, as a person may write them."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from services.registry.search.fields import MAX_NAME
from services.registry.words import Words

MAX_TAGS = 100
"""Tags of one version."""
MAX_METRICS = 1000
"""Metrics of one version."""
MAX_TEXT = 20_000
"""Characters of a description, or of what changed."""


def _no_blank_edge(name: str) -> str:
    if name != name.strip():
        raise ValueError("must not begin or end with a blank")
    return name


LabelName = Annotated[Words, StringConstraints(min_length=1, max_length=MAX_NAME), AfterValidator(_no_blank_edge)]
"""The name of a metric or tag: what a filter can name."""

TagValue = Annotated[Words, StringConstraints(max_length=5000)]
Tags = Annotated[dict[LabelName, TagValue], Field(max_length=MAX_TAGS)]
Text = Annotated[Words, StringConstraints(max_length=MAX_TEXT)]
