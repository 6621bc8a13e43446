"""All benchmarks, one after the other: `python -m bench`. The exit status is that of the first that failed."""

import subprocess
import sys

PROGRAMS = ("consume", "monitor", "serving", "loading", "memory", "registry")


def main() -> int:
    """Run them; what they print goes straight through."""
    for name in PROGRAMS:
        print(f"\n== bench.{name}\n", flush=True)
        status = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
