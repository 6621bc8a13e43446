"""Errors of the local cluster. Each message is one sentence a person can act on.

LocalError            the local cluster cannot do what was asked
├── PortTaken         another program listens on a port we need
├── DataDirBusy       another cluster works in the same data directory
├── BrokerStopped     the embedded broker ended, or never answered
├── ServiceStopped    a service ended before it was ready, or never became ready
└── JarsMissing       the broker's jars are absent, could not be downloaded, or are not what they should be
"""


class LocalError(Exception):
    """The local cluster cannot do what was asked; the message says why and what to do."""

    code = "local"
    retriable = False


class PortTaken(LocalError):
    """Another program listens on a port we need."""

    code = "port_taken"


class DataDirBusy(LocalError):
    """Another cluster works in the same data directory."""

    code = "data_dir_busy"


class BrokerStopped(LocalError):
    """The embedded broker ended, or never answered."""

    code = "broker_stopped"


class ServiceStopped(LocalError):
    """A service ended before it was ready, or never became ready."""

    code = "service_stopped"


class JarsMissing(LocalError):
    """The broker's jars are absent, could not be downloaded, or are not what they should be."""

    code = "jars_missing"
