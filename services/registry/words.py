"""Text that a person wrote, as every database can keep it."""

from typing import Annotated

from pydantic import AfterValidator


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


Words = Annotated[str, AfterValidator(_without_nul)]
"""A string without NUL, which PostgreSQL does not store."""
