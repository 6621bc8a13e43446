"""The clauses of the input contract in force: a model's own, or the server's where the model says nothing."""

from typing import NamedTuple

from schemas.serving_options import InputContract, Misfit


class Clauses(NamedTuple):
    """What becomes of a request that breaks a clause, see `schemas.serving_options.InputContract`."""

    unexpected: Misfit = "reject"
    missing: Misfit = "reject"
    type: Misfit = "reject"
    range: Misfit = "flag"
    category: Misfit = "flag"

    def under(self, contract: InputContract) -> "Clauses":
        """These, but for what `contract` says.

        >>> Clauses().under(InputContract(range="reject")).range
        'reject'
        """
        own = {name: value for name in self._fields if (value := getattr(contract, name)) is not None}
        return self._replace(**own)
