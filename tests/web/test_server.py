"""What clients may cost: the sockets' side of the HTTP server, with real connections on loopback."""

import contextlib
import datetime as dt
import gzip
import http.client
import logging
import socket
import ssl
import threading
import time
from http import HTTPStatus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from observerd.web import server as web
from observerd.web.server import HEAD_BYTES, PLACES, Answer, Server, TlsFiles
from tests.support import eventually
from tests.web.scenes import site, status


@pytest.fixture(scope="module")
def plain():
    return Server("127.0.0.1:0", None, site(status())[0].answer)


def get(server, target="/healthz", method="GET", context=None, headers=None):
    """(status, body, headers) as an ordinary client gets them."""
    kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
    with contextlib.closing(
        kind("127.0.0.1", server.port, timeout=20, **({"context": context} if context else {}))
    ) as connection:
        connection.request(method, target, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def said(server, *pieces):
    """All that the server says to these bytes."""
    with connected(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def connected(server):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.settimeout(20)
    return connection


def test_a_request_in_pieces_is_one_request(plain):
    assert said(plain, b"GET /hea", b"lthz HTTP/1.1\r\nHost: ", b"localhost\r\n\r\n").endswith(
        b"\r\n\r\nok\n"
    )


def test_head_is_an_answer_without_its_body(plain):
    code, body, headers = get(plain, "/healthz", "HEAD")

    assert (200, b"", "3") == (code, body, headers["Content-Length"])


def test_metrics_travel_compressed(plain):
    code, body, headers = get(plain, "/metrics", headers={"Accept-Encoding": "gzip"})

    assert (200, "gzip") == (code, headers["Content-Encoding"])
    assert b"observerd_job_slots 4.0" in gzip.decompress(body)


@pytest.mark.parametrize(
    ("bytes_sent", "code"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 150 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"one two three four\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"\r\n\r\n", 400),
    ],
    ids=["long header", "long address", "many headers", "noise", "four words", "http 3", "nothing"],
)
def test_what_is_no_request_is_refused(bytes_sent, code, plain):
    assert said(plain, bytes_sent).startswith(f"HTTP/1.1 {code} ".encode())


def test_a_body_is_not_waited_for(plain):
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"

    assert said(plain, request, b"a" * 100_000).startswith(b"HTTP/1.1 405 ")


def test_slow_clients_keep_nobody_out(monkeypatch, plain):
    """More of them than there are places, each with a request that never ends."""
    monkeypatch.setattr(web, "HEAD_S", 100.0)
    with contextlib.ExitStack() as slow:
        for _ in range(3 * PLACES):
            slow.enter_context(connected(plain)).sendall(b"GET / HT")

        assert get(plain)[:2] == (200, b"ok\n")


def test_clients_cost_no_more_threads_than_there_are_places(plain):
    before = threading.active_count()
    with contextlib.ExitStack() as slow:
        for _ in range(10 * PLACES):
            slow.enter_context(connected(plain))

        assert threading.active_count() - before <= PLACES


def test_who_does_not_finish_in_time_is_cut_off(monkeypatch, plain):
    monkeypatch.setattr(web, "HEAD_S", 0.1)

    assert b"" == said(plain, b"GET / HT")


def test_who_reads_nothing_gives_its_place_back(monkeypatch):
    monkeypatch.setattr(web, "SEND_S", 0.1)
    big = Server("127.0.0.1:0", None, lambda _: Answer(HTTPStatus.OK, b"a" * 50_000_000))
    with connected(big) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.sendall(b"GET / HTTP/1.1\r\n\r\n")
        eventually(lambda: len(big._open) == 1)
        eventually(lambda: not big._open)


def test_an_error_of_ours_costs_one_answer(caplog):
    broken = Server("127.0.0.1:0", None, lambda _: 1 / 0)

    assert [b"", b""] == [said(broken, b"GET / HTTP/1.1\r\n\r\n") for _ in range(2)]
    assert ["request not answered"] * 2 == [record.getMessage() for record in caplog.records]


# ---- TLS


class Authority:
    """Makes certificates. One process's tests are all that trusts it."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed("authority", self.key, authority=True)
        self.path = self._write("authority.pem", self.certificate)

    def issue(self, name):
        """(certificate, key): paths of PEM files."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._write(f"{name}.pem", self._signed(name, key))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self.directory / f"{name}.key"
        path.write_bytes(key.private_bytes(*form))
        return certificate, str(path)

    def _write(self, name, certificate):
        path = self.directory / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def _signed(self, name, key, *, authority=False):
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if authority else self.certificate.subject
        names = x509.SubjectAlternativeName([x509.DNSName("127.0.0.1"), x509.DNSName(name)])
        return (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def trusting(authority, certificate=None, key=None):
    context = ssl.create_default_context(cafile=authority.path)
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def secure(authority, client_ca=None):
    certificate, key = authority.issue("server")
    return Server("127.0.0.1:0", TlsFiles(certificate, key, client_ca), site(status())[0].answer)


def test_https_answers_and_plain_http_does_not(authority):
    server = secure(authority)

    assert 200 == get(server, context=trusting(authority))[0]
    with contextlib.suppress(ConnectionResetError):
        assert b"HTTP" not in said(server, b"GET / HTTP/1.1\r\n\r\n")


def test_only_clients_with_a_certificate_are_let_in(authority, tmp_path):
    server = secure(authority, client_ca=authority.path)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("client")

    assert 200 == get(server, context=trusting(authority, *authority.issue("client")))[0]
    for refused in (trusting(authority), trusting(authority, *stranger)):
        with pytest.raises(OSError):
            get(server, context=refused)


def test_silence_before_the_handshake_keeps_nobody_out(authority, caplog, monkeypatch):
    monkeypatch.setattr(web, "HEAD_S", 100.0)
    server = secure(authority)
    with contextlib.ExitStack() as silent:
        for _ in range(2 * PLACES):
            silent.enter_context(connected(server))

        assert 200 == get(server, context=trusting(authority))[0]
    assert [] == [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_renewed_certificate_is_used_without_a_restart(authority):
    server = secure(authority)
    first = served(server, authority)
    time.sleep(0.01)  # Beyond the file system's clock tick: files are told apart by their time.
    authority.issue("server")

    assert first != served(server, authority)


def test_a_broken_renewal_leaves_the_old_certificate(authority, caplog):
    server = secure(authority)
    first = served(server, authority)
    time.sleep(0.01)
    (authority.directory / "server.pem").write_text("half a file")

    assert first == served(server, authority)
    assert ["certificates not loaded, the old ones stay"] == [each.getMessage() for each in caplog.records]


def test_certificates_that_cannot_be_read_are_told_at_once(authority):
    with pytest.raises(OSError):
        Server(
            "127.0.0.1:0", TlsFiles("/no-such-directory.pem", "/no-such-directory.key", None), lambda _: None
        )


def served(server, authority):
    with (
        connected(server) as raw,
        trusting(authority).wrap_socket(raw, server_hostname="server") as connection,
    ):
        return connection.getpeercert(binary_form=True)
