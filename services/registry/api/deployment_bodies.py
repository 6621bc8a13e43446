"""What is sent to deploy: the documents and what they ask for."""

from typing import Any, Self

from pydantic import AliasChoices, Field, model_validator

from schemas.base import Name, StrictDocument
from schemas.serving_options import ServingOptions
from services.registry.api.parts import VersionRef
from services.registry.api.serving_options import Asked, MaxLoss, StrictConstant, StrictOptions
from services.registry.deployments import Beside
from services.registry.quantization.quantizer import DEFAULT_MAX_LOSS
from services.registry.words import Words


class Served(StrictDocument):
    """How a model is served, whatever its routes are.

    When a version fails, its request falls back: to the version `fallback`, then to the model `fallback_model`, then to
    `fallback_constant`. `options` replace those of the model, null resets them; left out they stay.
    """

    shadow: VersionRef | None = None
    fallback: VersionRef | None = None
    fallback_model: Name | None = None
    fallback_constant: StrictConstant | None = None
    sticky_key: str | None = Field(default=None, max_length=256)
    options: StrictOptions | None = None
    quantize_max_loss: MaxLoss = DEFAULT_MAX_LOSS
    reason: Words = Field(default="", max_length=2000)

    @property
    def beside(self) -> Beside:
        """What stands beside the routes."""
        constant = self.fallback_constant.plain() if self.fallback_constant is not None else None
        return Beside(self.shadow, self.fallback, self.fallback_model, constant, self.sticky_key)

    @property
    def given_options(self) -> ServingOptions | None:
        """The new options, or None: they stay."""
        if "options" not in self.model_fields_set:
            return None
        return self.options.plain() if self.options is not None else ServingOptions()


class Variant(StrictDocument):
    """One variant of a test: its version, its percentage, and the graph that is asked for."""

    version: VersionRef
    weight: float
    quantize: Asked | None = None


class Deploy(Served):
    """What to send a model's traffic to. Without `version` or `alias`: the one in production.

    `canary` is the percentage that `version` gets beside what serves now; `weights` splits the traffic by version,
    `variants` between versions with names of their own. `quantize` serves `version` by a smaller graph, if that loses
    no more than `quantize_max_loss` on the version's baseline sample; `none` serves it by its own again.
    """

    model_id: Name
    version: VersionRef | None = None
    alias: Name | None = None
    canary: float | None = Field(
        default=None, validation_alias=AliasChoices("canary", "canary_percent", "canaryPercent")
    )
    weights: dict[VersionRef, float] | None = Field(default=None, min_length=1, max_length=100)
    variants: dict[Name, Variant] | None = Field(default=None, min_length=1, max_length=100)
    quantize: Asked | None = None

    @model_validator(mode="after")
    def _names_routes_in_one_way(self) -> Self:
        if self.version is not None and self.alias is not None:
            raise ValueError("give either `version` or `alias`, not both")
        one = any(value is not None for value in (self.version, self.alias, self.canary))
        if one + (self.weights is not None) + (self.variants is not None) > 1:
            raise ValueError("give `version` with or without `canary`, or `weights`, or `variants`")
        if self.quantize is not None and (self.weights is not None or self.variants is not None):
            raise ValueError("`quantize` is of one `version`: give it in the variants that are to be smaller")
        return self

    @property
    def reference(self) -> str | None:
        """The version, as a number or as `@alias`."""
        return f"@{self.alias}" if self.alias is not None else self.version

    @property
    def asked(self) -> dict[str | None, Asked]:
        """The graphs that are asked for, by reference."""
        if self.quantize is not None:
            return {self.reference: self.quantize}
        return {each.version: each.quantize for each in (self.variants or {}).values() if each.quantize is not None}


class WantedRoute(StrictDocument):
    """One route of a full wanted state."""

    name: Name
    version: VersionRef
    weight: float
    quantize: Asked | None = None


class Wanted(Served):
    """The whole wanted state of one model. No routes: nothing is served."""

    model_id: Name
    routes: tuple[WantedRoute, ...] = Field(max_length=100)

    @property
    def asked(self) -> dict[str | None, Asked]:
        """The graphs that are asked for, by reference."""
        return {route.version: route.quantize for route in self.routes if route.quantize is not None}


_SINCE_OPTIONS = {"fallback_model", "fallback_constant", "options", "quantize_max_loss", "variants", "quantize"}
"""Members that requests before them did not have: left out, they leave no trace in what an Idempotency-Key means."""


def as_asked(wanted: Deploy | Wanted) -> dict[str, Any]:
    """The request as an Idempotency-Key remembers it."""
    document = wanted.model_dump(mode="json", exclude=_SINCE_OPTIONS - wanted.model_fields_set)
    for route in document.get("routes", ()):
        if route["quantize"] is None:
            del route["quantize"]
    return document
