"""Errors of the local cluster. Each message is one sentence a person can act on.

TrimtabError
└── LocalError            the local cluster cannot do what was asked
    ├── PortTaken         another program listens on a port we need
    ├── DataDirBusy       another cluster works in the same data directory
    ├── BrokerStopped     the embedded broker ended, or never answered
    ├── ServiceStopped    a service ended before it was ready, or never became ready
    └── JarsMissing       the broker's jars are absent, can't be downloaded, or aren't what they should be
"""

from services.kernel.errors import TrimtabError


class LocalError(TrimtabError):
    """The local cluster cannot do what was asked; the detail says why and what to do."""

    code = "local"


class PortTaken(LocalError):
    """Another program listens on a port we need."""

    code = "port-taken"


class DataDirBusy(LocalError):
    """Another cluster works in the same data directory."""

    code = "data-dir-busy"


class BrokerStopped(LocalError):
    """The embedded broker ended, or never answered."""

    code = "broker-stopped"


class ServiceStopped(LocalError):
    """A service ended before it was ready, or never became ready."""

    code = "service-stopped"


class JarsMissing(LocalError):
    """The broker's jars are absent, could not be downloaded, or are not what they should be."""

    code = "jars-missing"
