"""Why a model object could not become a version.

InvalidInput
└── NotConvertible     the model, its sample or its labels do not fit; the detail says what to do
    └── Different      the graph was made and does not answer as the model does
"""

from services.kernel.errors import InvalidInput


class NotConvertible(InvalidInput):
    """The model, its sample or its labels do not fit."""

    code = "not-convertible"


class Different(NotConvertible):
    """The converted graph answers otherwise than the model; it was not registered."""

    code = "conversion-differs"
