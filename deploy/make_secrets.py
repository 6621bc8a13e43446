"""Make the secret files that compose.yaml mounts, each once: what is there is left alone. Needs Python alone.

    python3 deploy/make_secrets.py

The folder is closed to other users. The files in it are not: the processes in the containers are other users, and a
mounted file keeps its mode.
"""

import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"


def make(folder: Path) -> list[str]:
    """Write the missing files into `folder`; returns their names."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    made = []

    def once(name: str, value: str) -> str:
        path = folder / name
        if not path.exists():
            path.write_text(value)
            path.chmod(0o644)
            made.append(name)
        return path.read_text()

    password = once("postgres_password", secrets.token_hex(24))
    once("trimtab_database_url", f"postgresql+psycopg://trimtab:{password}@postgres:5432/trimtab")
    once("trimtab_internal_key", secrets.token_hex(32))
    once("trimtab_s3_secret_access_key", secrets.token_hex(24))
    once("grafana_password", secrets.token_urlsafe(18))
    return made


if __name__ == "__main__":
    created = make(FOLDER)
    sys.stdout.write(f"made {', '.join(created)} in {FOLDER}\n" if created else f"nothing is missing in {FOLDER}\n")
