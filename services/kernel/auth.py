"""API keys: random, hashed at rest, scoped, bound to model prefixes. The topic `access` tells them to every process."""

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from schemas.base import Message
from schemas.envelope import Envelope
from schemas.events import ApiKeyGranted, Scope
from services.kernel.bus.table_reader import TableReader
from services.kernel.errors import Forbidden, Unauthenticated
from services.kernel.settings import Settings

KEY_PREFIX = "tt_"
ALL_SCOPES = frozenset(Scope)
_IMPLIED = {
    Scope.ADMIN: ALL_SCOPES,
    Scope.DEPLOY: frozenset({Scope.DEPLOY, Scope.READ}),
    Scope.WRITE: frozenset({Scope.WRITE, Scope.READ}),
    Scope.APPROVE: frozenset({Scope.APPROVE, Scope.READ}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Empty `model_prefixes`: every model."""

    name: str
    scopes: frozenset[Scope]
    model_prefixes: tuple[str, ...] = ()

    def demand(self, scope: Scope, model_id: str | None = None) -> None:
        """Raise `Forbidden` unless this principal may do `scope` (on `model_id`)."""
        if scope not in self.scopes:
            raise Forbidden(f"the key {self.name!r} lacks the scope {scope.value!r}: create one that has it")
        if model_id is not None and self.model_prefixes and not model_id.startswith(self.model_prefixes):
            raise Forbidden(f"the key {self.name!r} is bound to other models than {model_id!r}")

    def demand_every_model(self) -> None:
        """Raise `Forbidden` if this principal is bound to some models: what it asks for concerns them all."""
        if self.model_prefixes:
            raise Forbidden(
                f"the key {self.name!r} is bound to some models, and this concerns every model: ask with a key that "
                "has no model prefixes"
            )


ANYONE = Principal("anyone", ALL_SCOPES)
"""Who asks when `auth` is off."""
INTERNAL = Principal("trimtab", ALL_SCOPES)
"""Another service of this installation."""


def new_key() -> str:
    """A fresh API key: 256 random bits. Shown once, never stored."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def fingerprint(key: str) -> str:
    """What is stored of a key: its SHA-256 (hex). A 256-bit random key needs no salt and no stretching."""
    return hashlib.sha256(key.encode()).hexdigest()


class Access:
    """The keys as of now, fed from the compacted topic `access`."""

    def __init__(self, settings: Settings) -> None:
        self._off = settings.auth == "off"
        self._internal = settings.internal_key.get_secret_value() if settings.internal_key else None
        self._principals: dict[str, Principal] = {}
        self._fingerprints: dict[str, str] = {}
        self._reader = None if self._off else TableReader(settings, "access", self._apply)

    async def start(self) -> None:
        """Begin to follow the keys."""
        if self._reader is not None:
            await self._reader.start()

    async def stop(self) -> None:
        """Stop following."""
        if self._reader is not None:
            await self._reader.stop()

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """What follows the keys: without it a revoked key would go on working, so its end ends the process."""
        return self._reader.task if self._reader is not None else None

    def ready(self) -> str | None:
        """None once the keys are known."""
        return self._reader.ready() if self._reader is not None else None

    def identify(self, authorization: str | None) -> Principal:
        """The principal of an `Authorization: Bearer KEY` header. Raises `Unauthenticated`. Costs one SHA-256."""
        if self._off:
            return ANYONE
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthenticated("send `Authorization: Bearer KEY`; `trimtab keys create` makes a key")
        if self._internal is not None and hmac.compare_digest(key.encode(), self._internal.encode()):
            return INTERNAL
        principal = self._principals.get(fingerprint(key))
        if principal is None:
            raise Unauthenticated("this key is unknown or revoked")
        return principal

    def _apply(self, key_id: str, message: Message | None, _: Envelope | None) -> None:
        self._principals.pop(self._fingerprints.pop(key_id, ""), None)
        if isinstance(message, ApiKeyGranted):
            scopes = frozenset().union(*(_IMPLIED.get(scope, frozenset({scope})) for scope in message.scopes))
            self._fingerprints[key_id] = message.sha256
            self._principals[message.sha256] = Principal(message.name, scopes, message.model_prefixes)
