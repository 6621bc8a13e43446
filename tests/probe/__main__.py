"""Run the probe as a process."""

import sys

from services.kernel.service import run
from tests.probe.app import ProbeSettings, build

sys.exit(run(lambda: build(ProbeSettings())))
