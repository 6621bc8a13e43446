"""Secrets from files: what a container gets mounted."""

from pathlib import Path

import pytest

from services.kernel.errors import Misconfigured
from services.kernel.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets that the environment names."""
    (tmp_path / "trimtab_internal_key").write_text("from a file\n")
    (tmp_path / "trimtab_database_url").write_text("postgresql+psycopg://u:p@db/trimtab\n")
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("s3")
    monkeypatch.setenv("TRIMTAB_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_files_are_named_as_their_variables(folder: Path) -> None:
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://u:p@db/trimtab"
    assert settings.internal_key is not None
    assert settings.internal_key.get_secret_value() == "from a file"
    assert settings.s3_secret_access_key is not None
    assert settings.s3_secret_access_key.get_secret_value() == "s3"


def test_the_environment_wins_and_arguments_win_over_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_DATABASE_URL", "sqlite:///env.db")
    assert Settings().database_url == "sqlite:///env.db"
    assert Settings(database_url="sqlite:///argument.db").database_url == "sqlite:///argument.db"


def test_secrets_are_not_printed(folder: Path) -> None:
    assert "from a file" not in repr(Settings())


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIMTAB_SECRETS_DIR", str(tmp_path / "gone"))
    with pytest.raises(Misconfigured, match="TRIMTAB_SECRETS_DIR"):
        Settings()
