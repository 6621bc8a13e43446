"""pyarrow does not bring pandas into a service."""

import subprocess
import sys

PROGRAM = """
import sys
import numpy
import pyarrow
from services.kernel.lean_arrow import keep_pandas_out
keep_pandas_out()
assert pyarrow.array(numpy.arange(3)).to_pylist() == [0, 1, 2]
assert pyarrow.array(["a", None]).null_count == 1
assert "pandas" not in sys.modules
import pandas
assert pyarrow.array(numpy.arange(2)).to_pylist() == [0, 1]
print("lean")
"""


def test_a_conversion_does_not_import_pandas_which_can_be_imported_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("lean", 0), done.stderr


def test_without_pyarrow_there_is_nothing_to_do() -> None:
    program = "import sys; from services.kernel.lean_arrow import keep_pandas_out; keep_pandas_out()"
    program += "; print(sorted({'pyarrow', 'pandas'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
