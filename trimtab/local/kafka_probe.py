"""Does a Kafka broker really answer? One ApiVersions request, spoken by hand.

An open port is not enough: the broker listens before it takes requests.
Source: https://kafka.apache.org/protocol, ApiVersions (key 18) version 0.
"""

import socket
import struct

from services.kernel.errors import Misconfigured

API_VERSIONS = 18


def any_answers(bootstrap: str) -> bool:
    """Whether one of the brokers `host:port[,host:port]` answers. Raises `Misconfigured` for another form."""
    for address in bootstrap.split(","):
        host, colon, port = address.strip().rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()):
            raise Misconfigured(f"{bootstrap!r} names no Kafka brokers: give HOST:PORT")
        if answers(host.strip("[]"), int(port)):
            return True
    return False


def answers(host: str, port: int, timeout_seconds: float = 1.0) -> bool:
    """Whether the broker at `host:port` answers an ApiVersions request within `timeout_seconds`."""
    correlation_id, client_id = 1, b"trimtab"
    header = struct.pack(">hhih", API_VERSIONS, 0, correlation_id, len(client_id)) + client_id
    try:
        with socket.create_connection((host, port), timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(struct.pack(">i", len(header)) + header)
            with connection.makefile("rb") as answer:
                body = answer.read(10)  # size, correlation id, error code
    except (OSError, OverflowError):  # OverflowError: a port past 65535
        return False
    if len(body) < 10:
        return False
    _size, answered_id, error_code = struct.unpack(">iih", body)
    return bool(answered_id == correlation_id and error_code == 0)
