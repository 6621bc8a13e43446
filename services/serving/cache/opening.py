"""The cache that the settings ask for."""

from urllib.parse import urlsplit

from services.kernel.errors import Misconfigured
from services.serving.cache import PredictionCache
from services.serving.cache.memory import MemoryCache
from services.serving.cache.redis import RedisCache
from services.serving.settings import ServingSettings

_SCHEMES = ("redis", "rediss", "unix")


def open_cache(settings: ServingSettings) -> PredictionCache | None:
    """Redis where a URL names it, else this process's memory; None when that may hold nothing. Connects to nothing yet.

    Raises `Misconfigured`.
    """
    if settings.serving_cache_url is not None:
        url = settings.serving_cache_url.get_secret_value()
        if urlsplit(url).scheme not in _SCHEMES:
            raise Misconfigured("TRIMTAB_SERVING_CACHE_URL must begin with redis://, rediss:// or unix://")
        secret = settings.serving_redaction_key
        return RedisCache(
            url,
            secret=None if secret is None else secret.get_secret_value().encode(),
            timeout_seconds=settings.serving_cache_timeout_ms / 1000,
            rest_seconds=settings.serving_cache_rest_seconds,
            value_bytes=settings.serving_cache_value_bytes,
        )
    return MemoryCache(settings.serving_cache_bytes) if settings.serving_cache_bytes else None
