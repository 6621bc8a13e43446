"""`forward` over TLS: the gateway has to prove who it is before it sees a key."""

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.edge.test_forward import _Answers
from trimtab.edge.runner.errors import Unavailable
from trimtab.edge.runner.forward import Gateway

HEARD: list[dict[str, Any]] = []


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """(certificate, key) of a server at `name`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate_path, key_path


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us."""


@pytest.fixture(params=["127.0.0.1", "127.0.0.2"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, bool]]:
    """(address of a server at 127.0.0.1, its certificate, whether that is of this address)."""
    certificate_path, key_path = certificate(tmp_path, request.param)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_path, key_path)
    HEARD.clear()
    handler = type("Answers", (_Answers,), {"said": (200, {}, b'{"acknowledged": 1}'), "heard": HEARD})
    server = _Server(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", certificate_path, request.param == "127.0.0.1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_only_a_gateway_that_proves_its_name_hears_the_key(gateway: tuple[str, Path, bool]) -> None:
    url, certificate_path, is_its_own = gateway
    with pytest.raises(Unavailable, match="certificate"):
        Gateway(url, "tt_key").send({})
    trusting = Gateway(url, "tt_key", ca_file=certificate_path)
    if is_its_own:
        assert trusting.send({}) == {"acknowledged": 1}
        assert [each["key"] for each in HEARD] == ["Bearer tt_key"]
    else:
        with pytest.raises(Unavailable, match="certificate"):
            trusting.send({})
        assert HEARD == []
