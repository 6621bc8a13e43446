"""pyarrow without pandas.

At its first conversion pyarrow imports pandas where that is installed, to tell its types apart: 49 MiB of memory and
half a second in every process, for objects that none of ours ever holds. It asks once and remembers what it found.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas:
    """A finder that knows nothing of pandas, and says so."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not for this process", name=name)
        return None


def keep_pandas_out() -> None:
    """Let pyarrow, if it is loaded, find no pandas from now on. `import pandas` itself goes on to work."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None or "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pyarrow.array(range(1))
    finally:
        sys.meta_path.remove(finder)
