"""A receiver that responds "ok" at once, in a process of its own, so that its CPU is not counted as the sender's.

nginx where it is installed; otherwise an asyncio Protocol, which is this module run as a program. See `Sink.kind`.
"""

import argparse
import asyncio
import contextlib
import datetime
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
# A name rather than an address: receivers have names, and looking one up belongs to a new connection.
HOST = "localhost"
START_SECONDS = 10.0
# /count returns which request of its connection this is, and whether its TLS session was resumed ("r") or not (".").
# /total, in nginx alone, returns how many requests have come.
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    ssl_session_cache off;
    ssl_session_tickets off;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{http_port};
        listen 127.0.0.1:{https_port} ssl;
        location / {{ return 200 "ok"; }}
        location /count {{ return 200 "$connection_requests$ssl_session_reused"; }}
        location /total {{ stub_status; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where it listens, what it is, and the certificate authority that its https is to be trusted by."""

    kind: str
    http: str
    https: str
    ca_bundle: str


@contextlib.contextmanager
def running() -> Iterator[Sink]:
    """A sink for the time of the block. All that it writes is in a folder beside this file, gone at the end."""
    with tempfile.TemporaryDirectory(prefix=".run-", dir=HERE) as name:
        folder = Path(name)
        _write_certificates(folder)
        http_port, https_port = free_ports(2)
        nginx = shutil.which("nginx")
        if nginx:
            conf = folder / "nginx.conf"
            conf.write_text(NGINX.format(folder=folder, http_port=http_port, https_port=https_port))
            command = [nginx, "-p", name, "-e", "stderr", "-c", str(conf)]
        else:
            command = [sys.executable, str(Path(__file__)), name, str(http_port), str(https_port)]
        # Its standard input ends with this process, and with that the Protocol's.
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            for port in (http_port, https_port):
                wait_for(port, process)
            yield Sink(
                kind="nginx" if nginx else "asyncio",
                http=f"http://{HOST}:{http_port}",
                https=f"https://{HOST}:{https_port}",
                ca_bundle=str(folder / "ca.pem"),
            )
        finally:
            process.terminate()
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"The sink ended at its start with status {process.returncode}; it says why above.")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def _write_certificates(folder: Path) -> None:
    """An authority, and a leaf of its own on P-256, the kind that most receivers have."""
    authority, authority_key = _certificate("orderhooks benchmarks", None)
    leaf, leaf_key = _certificate(HOST, (authority, authority_key))
    (folder / "ca.pem").write_bytes(_pem(authority))
    (folder / "chain.pem").write_bytes(_pem(leaf))
    (folder / "key.pem").write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _certificate(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    signing_key = issuer[1] if issuer else key
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        .add_extension(_usage(authority=issuer is None), critical=True)
    )
    if issuer:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(signing_key, hashes.SHA256()), key


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Answering(asyncio.Protocol):
    """Enough of HTTP/1.1 for the benchmarks' own requests: each has a content-length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.waiting = b""
        self.requests = 0

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].lower()
            size = end + 4 + int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            if len(self.waiting) < size:
                return
            self.waiting = self.waiting[size:]
            self.requests += 1
            self._respond(b"ok" if b" /count " not in head else self._count(), close=b"\r\nconnection: close" in head)

    def _count(self) -> bytes:
        tls = self.transport.get_extra_info("ssl_object")
        return b"%d%s" % (self.requests, b"" if tls is None else b"r" if tls.session_reused else b".")

    def _respond(self, text: bytes, *, close: bool) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nserver: sink\r\ncontent-type: text/plain\r\n"
            b"content-length: %d\r\nconnection: %s\r\n\r\n%s" % (len(text), b"close" if close else b"keep-alive", text)
        )
        if close:
            self.transport.close()


async def _serve(folder: Path, http_port: int, https_port: int) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.num_tickets = 0
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(Answering, "127.0.0.1", http_port)
    tls = await loop.create_server(Answering, "127.0.0.1", https_port, ssl=context)
    async with plain, tls:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("ports", type=int, nargs=2)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.folder, *arguments.ports))
