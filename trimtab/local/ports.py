"""TCP ports on this machine: is one taken, by whom, and which are free."""

import socket
from contextlib import ExitStack

import psutil

from trimtab.local.errors import PortTaken

LOOPBACK = "127.0.0.1"


def listening_socket(port: int, *, setting: str, host: str = LOOPBACK) -> socket.socket:
    """A TCP socket that listens on `host:port`.

    Raises:
        PortTaken: naming the port, the program that has it where the system tells, and the `setting` to
            change.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except PermissionError as error:
        listener.close()
        raise PortTaken(f"Port {port} may not be opened by this user; set {setting} to one above 1023.") from error
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Port {port} on {host} is taken{_by_whom(port)}; stop that program or set {setting} to another."
        ) from error
    return listener


def require_free(port: int, *, setting: str, host: str = LOOPBACK) -> None:
    """Return when `host:port` can be listened on now. Raises `PortTaken` as `listening_socket` does."""
    listening_socket(port, setting=setting, host=host).close()


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """`count` different ports that nothing listens on now; another program may yet take one."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind((host, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listens and listens.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:  # the system keeps other users' sockets to itself
        pass
    return ""
