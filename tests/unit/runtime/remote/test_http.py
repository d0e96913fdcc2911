from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from maquette.runtime.errors import Internal
from maquette.runtime.remote.addresses import resolve
from maquette.runtime.remote.answers import Gone, Refusal
from maquette.runtime.remote.http import Upstream
from maquette.runtime.remote.patience import retry_after
from maquette.runtime.settings import ProviderSettings
from tests.support.provider import Answer, Call, FakeProvider, Fault

KEY = "key-of-the-operator"


class Echo(FakeProvider):
    """Sends back what it is asked for."""

    def answer(self, call: Call) -> Answer:
        if call.path == "/large":
            return Answer(200, bytes(2 << 20))
        if call.path == "/turn":
            return Answer(302, headers={"Location": "/files/a"})
        if call.path == "/round":
            return Answer(302, headers={"Location": "/round"})
        return Answer(200, b"bytes" if call.path.startswith("/files/") else {"path": call.path})


def upstream(fake: FakeProvider, *, ask: Any = resolve, **changes: float) -> Upstream:
    settings = ProviderSettings(**{"back_off_seconds": 0.01, "max_download_mib": 1, **changes})  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {KEY}"}
    return Upstream("Echo", "MAQUETTE_ECHO", settings, fake.url, KEY, headers, ask=ask)


async def test_the_key_goes_to_the_api_and_to_no_file(tmp_path: Path) -> None:
    fake = Echo()
    with fake.serving():
        there = upstream(fake)
        assert (await there.request("GET", "/a")).json() == {"path": "/a"}
        await there.download(f"{fake.url}/turn", tmp_path / "file")
        await there.close()
    api, *files = fake.calls
    assert api.headers["authorization"] == f"Bearer {KEY}"
    assert (tmp_path / "file").read_bytes() == b"bytes" and len(files) == 2
    assert not any("authorization" in call.headers for call in files)


async def test_a_file_has_a_limit_and_so_have_redirects(tmp_path: Path) -> None:
    fake = Echo()
    with fake.serving():
        there = upstream(fake)
        with pytest.raises(Internal, match="larger than 1 MiB"):
            await there.download(f"{fake.url}/large", tmp_path / "large")
        with pytest.raises(Internal, match="on and on"):
            await there.download(f"{fake.url}/round", tmp_path / "round")
        fake.faults.append(Fault("GET", "/files/", Answer(410)))
        with pytest.raises(Gone):
            await there.download(f"{fake.url}/files/a", tmp_path / "gone")


async def test_a_refusal_is_told_without_the_key_and_on_one_line() -> None:
    fake = Echo()
    with fake.serving():
        there = upstream(fake)
        fake.faults.append(Fault("GET", "/", Answer(409, {"message": f"no:\n{KEY}\x1b[31m" + "x" * 9000})))
        with pytest.raises(Refusal) as caught:
            await there.request("GET", "/a")
        await there.close()
    assert caught.value.status == 409
    assert caught.value.text.startswith("no: …") and len(caught.value.text) <= 500
    assert caught.value.text.isprintable()


async def test_an_answer_that_never_ends_is_refused() -> None:
    fake = Echo()
    with fake.serving():
        there = upstream(fake)
        fake.faults.append(Fault("GET", "/", Answer(200, bytes(5 << 20))))
        with pytest.raises(Internal, match="too long"):
            await there.request("GET", "/a")
        await there.close()


async def test_nobody_there_is_tried_again_even_for_what_is_paid_for() -> None:
    fake = Echo()
    with fake.serving():
        pass
    there = upstream(fake, patience_seconds=0.1)
    said: list[str] = []
    with pytest.raises(Internal, match="no connection"):
        await there.request("POST", "/a", body={}, paid=True, tell=said.append)
    assert len(said) > 1


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": "7"}) == 7.0
    assert retry_after({"retry-after": "999999"}) == 300.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 30 < (retry_after({"retry-after": soon}) or 0) <= 60
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    assert retry_after({"retry-after": past}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


class Tls(Echo):
    """The same behind TLS, with a certificate for one name."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def wrap(self, server: ThreadingHTTPServer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)


@pytest.mark.parametrize("name", ["files.test", "other.test"])
async def test_the_certificate_must_be_for_the_name_and_not_for_the_address(
    tmp_path: Path, name: str
) -> None:
    async def ask(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    fake = Tls(name, tmp_path)
    with fake.serving():
        there = upstream(fake, ask=ask, patience_seconds=0.0)
        there._tls = ssl.create_default_context(cafile=fake.certificate)
        port = fake.url.rpartition(":")[2]
        url = f"https://files.test:{port}/files/a"
        if name == "files.test":
            await there.download(url, tmp_path / "file")
            assert fake.calls[0].headers["host"] == f"files.test:{port}"
        else:
            with pytest.raises(Internal, match="did not come"):
                await there.download(url, tmp_path / "file")
            assert not fake.calls
