"""What the allocator keeps, and what it gives back."""

import subprocess
import sys

PROGRAM = """
import numpy as np
from services.serving.runtime.memory import KEPT_BYTES, give_back, keep_for_the_next_run, resident_bytes

assert keep_for_the_next_run()
size = 16 << 20
start = resident_bytes()
for _ in range(20):
    blocks = [np.ones(size, dtype=np.uint8) for _ in range(4)]
    del blocks
kept = resident_bytes() - start
assert 3 * size < kept < KEPT_BYTES, kept
assert give_back()
assert resident_bytes() - start < size
print("kept and given back")
"""


def test_freed_memory_is_kept_for_the_next_run_and_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "kept and given back", done.stderr
