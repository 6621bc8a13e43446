"""The image: pinned, unprivileged, and made of files that exist and reach the build."""

import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def test_the_base_is_pinned_to_a_supported_python() -> None:
    for base in instructions("FROM"):
        found = re.match(r"python:(3\.\d+)\.\d+-slim-\w+( AS \w+)?$", base)
        assert found is not None, base
        assert found[1] in ("3.11", "3.12", "3.13")


def test_the_process_is_nobody_special() -> None:
    assert instructions("USER") == ["10001:10001"]


def test_packages_come_from_the_lock_with_hashes() -> None:
    installs = [line for line in instructions("RUN") if "pip install" in line]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]


def test_everything_copied_exists_and_passes_dockerignore() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    copies = [copy.split()[0] for copy in instructions("COPY") if not copy.startswith("--from")]
    assert copies
    for source in copies:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), f"{source} is kept out of the build"
    assert sorted(allowed) == sorted(copies)
