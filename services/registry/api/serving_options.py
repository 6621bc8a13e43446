"""The options of a deployment as a person writes them: an unknown member, at any depth, is a 422 that names it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from schemas.serving_options import Circuit, Constant, InputContract, LogPolicy, Quantized, ServingOptions

Asked = Literal["int8", "fp16", "none"]
"""The graph that a version is to be served by; `none`: its own again."""

Graphs = dict[str, Quantized | None]

MaxLoss = Annotated[
    float, Field(ge=0, le=1, description="With `quantize`: the greatest loss on the baseline sample that is accepted.")
]


class StrictInputContract(InputContract):
    """See `InputContract`."""

    model_config = ConfigDict(extra="forbid")


class StrictLogPolicy(LogPolicy):
    """See `LogPolicy`."""

    model_config = ConfigDict(extra="forbid")


class StrictCircuit(Circuit):
    """See `Circuit`."""

    model_config = ConfigDict(extra="forbid")


class StrictConstant(Constant):
    """See `Constant`."""

    model_config = ConfigDict(extra="forbid")

    def plain(self) -> Constant:
        """The document that travels."""
        return Constant.model_validate(self.model_dump())


class StrictOptions(ServingOptions):
    """See `ServingOptions`."""

    model_config = ConfigDict(extra="forbid")

    inputs: StrictInputContract = StrictInputContract()
    log: StrictLogPolicy = StrictLogPolicy()
    circuit: StrictCircuit | None = None

    def plain(self) -> ServingOptions:
        """The document that travels."""
        return ServingOptions.model_validate(self.model_dump())
