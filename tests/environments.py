"""Environments beside our own: what does not fit our lock file lives in a virtual environment of its own lock."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def locked_environment(name: str, lock: Path) -> Path:
    """The Python of an environment that holds exactly what the file `lock` lists.

    Making it takes a minute or less, once a lock file: it is kept below `.cache/`.
    """
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    environment = cache / f"{name}-{version}-{digest}"
    python, complete = environment / "bin" / "python", environment / "complete"
    with (cache / f"{name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # several workers of pytest-xdist may want it at once
        if not complete.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True, timeout=120)
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
            subprocess.run([python, *install, "-r", lock, "-c", lock], check=True, timeout=600)
            complete.touch()
    return python
