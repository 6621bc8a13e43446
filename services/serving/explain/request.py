"""What a request for an explanation may say. Either spelling of a field is read."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from schemas.base import StrictDocument
from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.http.fields import sentence_of
from services.serving.settings import ServingSettings

LARGEST_SEED = 2**32 - 1


class ExplainOptions(StrictDocument):
    """How to explain. `target` (`class` in JSON): whose probability; none: the predicted class's. The same seed gives
    the same explanation."""

    method: Literal["shapley", "lime"] = "shapley"
    target: str | None = Field(default=None, validation_alias="class", serialization_alias="class")
    samples: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)

    def check(self, settings: ServingSettings) -> None:
        """Raise `TooLarge` for more samples than the settings allow."""
        if self.samples is not None and self.samples > settings.serving_explain_samples:
            raise TooLarge(
                f"samples is {self.samples}; at most {settings.serving_explain_samples} are taken: "
                "see TRIMTAB_SERVING_EXPLAIN_SAMPLES"
            )


class ExplainRequest(ExplainOptions):
    """`POST /mlops/explain`: one row as `input`, or several as `inputs`."""

    model_id: str
    version: str | None = None
    input: dict[str, Any] | None = None
    inputs: list[dict[str, Any]] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_kind_of_input(self) -> Self:
        if (self.input is None) == (self.inputs is None):
            raise ValueError("give either input (one row) or inputs (a list of rows)")
        return self

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, however they came."""
        return [self.input] if self.input is not None else self.inputs or []


def read_request(document: object) -> ExplainRequest:
    """The request in a parsed JSON document. Raises `InvalidInput` naming what is wrong."""
    if not isinstance(document, dict):
        raise InvalidInput("the body must be an object with modelId and input")
    try:
        return ExplainRequest.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(_sentence(error)) from error


def read_options(asked: bool | dict[str, Any]) -> ExplainOptions:
    """The options of a prediction's `explain`: true, or an object of them. Raises `InvalidInput`."""
    try:
        return ExplainOptions.model_validate(asked if isinstance(asked, dict) else {})
    except ValidationError as error:
        raise InvalidInput(f"explain: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'the request'}: {sentence_of(e['type'], e['msg'], e.get('ctx') or {})}"
        for e in error.errors()
    )
