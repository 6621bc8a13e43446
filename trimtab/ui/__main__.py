"""Start the page's process: `python -m trimtab.ui`."""

import sys

from services.kernel.service import run
from trimtab.ui.app import build
from trimtab.ui.settings import UiSettings

sys.exit(run(lambda: build(UiSettings())))
