"""Drift statistics on binned distributions, one a file. `p` is the baseline, `q` the window.

`TERMS` maps a method's name to what each bin adds to its score; `DEFINITIONS` says each method in one line, and every
reported score names its definition.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from services.monitor.drift import jensen_shannon, kl, psi

Array = npt.NDArray[np.float64]
Terms = Callable[[Array, Array], Array]

Method = Literal["psi", "kl", "kl_reverse", "jensen_shannon", "wasserstein"]

TERMS: Mapping[str, Terms] = MappingProxyType(
    {
        "psi": psi.terms,
        "kl": kl.terms,
        "kl_reverse": kl.reverse_terms,
        "jensen_shannon": jensen_shannon.terms,
    }
)

_BINS = "bins from the baseline, Laplace smoothing alpha = 0.5, bins empty on both sides left out"

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "psi": f"PSI = sum (p - q) ln(p / q), nats; {_BINS}",
        "kl": f"KL(q || p) = sum q ln(q / p), nats, window q against baseline p; {_BINS}",
        "kl_reverse": f"KL(p || q) = sum p ln(p / q), nats, baseline p against window q; {_BINS}",
        "jensen_shannon": f"Jensen-Shannon divergence, base 2, 0 to 1; {_BINS}",
        "wasserstein": "W1 / baseline standard deviation (floor 0.001), from a grid of baseline quantiles",
    }
)
"""What each score is, for the people who read it."""
