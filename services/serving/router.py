"""Which route answers a request. Pure.

A request without a sticky key draws a route with probability proportional to the weights. One with a key gets the same
route every time, on every replica, by weighted rendezvous hashing: each route scores `-weight / ln(u)`, where `u` in
(0, 1) is a hash of (model, key, route name), and the highest score wins. Routes win keys in proportion to their
weights, and when one weight changes only the keys that must move do: raising a canary from 10 to 20 % moves keys to it
and between no others.

Sources: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998), rendezvous hashing;
Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005), the logarithmic weighting.
"""

import math
from bisect import bisect_right
from hashlib import blake2b
from itertools import accumulate

import numpy as np

from schemas.events import DeploymentWanted, Route

SHADOW = "shadow"
FALLBACK = "fallback"
PINNED = "pinned"
"""The route name of a request that asked for a version by number."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def key_text(value: object) -> str | None:
    """A sticky key's text, so that a feature's value gives the same one whichever way it was written: `3` is `3.0`, and
    0.1 is the same in JSON and as a binary FP32. None for what is no key: nothing, an empty text, a list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if value.is_integer():
            return str(int(value))
        return str(np.float32(value)) if abs(value) < _FLOAT32_MAX else str(value)
    return str(value) if isinstance(value, int) or (isinstance(value, str) and value) else None


class RoutePlan:
    """The routes of one model's deployment, ready to choose from."""

    def __init__(self, wanted: DeploymentWanted) -> None:
        self.model_id = wanted.model_id
        self.revision = wanted.revision
        self.routes = tuple(route for route in wanted.routes if route.weight > 0) or wanted.routes[:1]
        self.shadow = wanted.shadow
        self.fallback = wanted.fallback
        self.fallback_model = wanted.fallback_model
        self.fallback_constant = wanted.fallback_constant
        self.options = wanted.options
        options, timeout_ms = wanted.options, wanted.options.timeout_ms
        self.plain = not (self.shadow or timeout_ms or options.circuit or options.cache_ttl_seconds)
        """Whether nothing stands between a request and the queue of its version."""
        self.timeout_seconds = None if timeout_ms is None else timeout_ms / 1000
        self._bounds = list(accumulate(route.weight for route in self.routes))
        self._only = self.routes[0] if len(self.routes) == 1 else None
        self.sticky_key = wanted.sticky_key if self._only is None else None
        """The key that decides among several routes; None: nothing has to be looked for in the request."""

    def choose(self, key: str | None, draw: float) -> Route:
        """The route of one request. `draw` is uniform in [0, 1); it decides when there is no `key`."""
        if self._only is not None:
            return self._only
        if key is not None:
            return max(self.routes, key=lambda route: self._score(route, key))
        place = bisect_right(self._bounds, draw * self._bounds[-1])
        return self.routes[min(place, len(self.routes) - 1)]

    def _score(self, route: Route, key: str) -> float:
        text = f"{self.model_id}\0{key}\0{route.name}"
        digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()  # a caller may send half a surrogate
        uniform = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
        return -route.weight / math.log(uniform) if uniform < 1 else math.inf

    def instead_of(self, version: str) -> Route | None:
        """Where a request goes when `version` failed it: the fallback, unless that is what failed."""
        return self.fallback if self.fallback is not None and self.fallback.version != version else None
