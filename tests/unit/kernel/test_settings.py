"""Settings: aliases, addresses, and contradictions that are refused with the remedy."""

import pytest

from services.kernel.errors import Misconfigured
from services.kernel.settings import Settings


def test_the_requirements_own_names_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_STORAGE_TYPE", "s3")
    monkeypatch.setenv("S3_BUCKET", "ml-models")
    settings = Settings()
    assert (settings.model_storage_type, settings.s3_bucket) == ("s3", "ml-models")


def test_our_name_wins_over_the_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET", "theirs")
    monkeypatch.setenv("TRIMTAB_S3_BUCKET", "ours")
    assert Settings().s3_bucket == "ours"


def test_addresses_of_other_services() -> None:
    settings = Settings(registry_port=4007, trainer_url="http://trainer:80/")
    assert settings.url_of("registry") == "http://127.0.0.1:4007"
    assert settings.url_of("trainer") == "http://trainer:80"
    assert settings.topic("labels") == "labels"
    assert Settings(topic_prefix="a-").topic("labels") == "a-labels"


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"host": "0.0.0.0"}, "trimtab keys create --admin"),
        ({"auth": "keys"}, "TRIMTAB_INTERNAL_KEY"),
        ({"model_storage_type": "s3"}, "S3_BUCKET"),
        ({"kafka_security_protocol": "SASL_SSL"}, "TRIMTAB_KAFKA_SASL_USERNAME"),
    ],
)
def test_a_contradiction_is_refused_with_the_remedy(values: dict[str, str], remedy: str) -> None:
    with pytest.raises(Misconfigured, match=remedy):
        Settings(**values).check()  # type: ignore[arg-type]


def test_beyond_loopback_with_keys_is_fine() -> None:
    Settings(host="0.0.0.0", auth="keys", internal_key="x" * 64).check()
