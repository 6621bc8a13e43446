"""Starts the explaining child: `start.py MEMORY_BYTES NICENESS VERSIONS`, run as a script in a process of its own.

It steps back and caps itself before it imports anything: the imports alone are a second of work.
"""

import os
import resource
import sys
from pathlib import Path


def main(memory_bytes: int, niceness: int, versions: int) -> None:
    """Cap this process, take the standard output for the answers alone, and serve."""
    os.nice(niceness)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        from services.serving.explain.child import Work, serve

        serve(sys.stdin.buffer, answers, Work(versions))


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[3])  # what `-I` leaves out
    main(*map(int, sys.argv[1:4]))
