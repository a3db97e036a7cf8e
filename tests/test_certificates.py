"""Certificates in files that change while a server runs: the new ones are used once they are whole."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from slipway.certificates import CertificateFiles, Certificates
from slipway.errors import SlipwayError
from tests.kits.certificates import write_certificates


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


def place(made: Path, folder: Path, name: str) -> CertificateFiles:
    """Copy the pair `name` to one place in `folder`."""
    for ending in ("pem", "key"):
        shutil.copy(made / f"{name}.{ending}", folder / f"new.{ending}")
        (folder / f"new.{ending}").replace(folder / f"tls.{ending}")
    return CertificateFiles(folder / "tls.pem", folder / "tls.key")


def test_unchanged_files_are_not_read_again(made, tmp_path):
    certificates = Certificates(place(made, tmp_path, "server"), "HTTP")
    certificates.load()
    context = certificates.context
    assert not certificates.refresh()
    assert certificates.context is context


def test_new_files_are_used(made, tmp_path, caplog):
    caplog.set_level("INFO")
    certificates = Certificates(place(made, tmp_path, "server"), "HTTP")
    certificates.load()
    place(made, tmp_path, "client")
    assert certificates.refresh()
    assert certificates.pem.certificate == (made / "client.pem").read_bytes()
    assert not certificates.refresh()
    assert "the HTTP service uses the new certificate" in caplog.text


def test_half_of_a_pair_leaves_the_old_one_in_use(made, tmp_path, caplog):
    certificates = Certificates(place(made, tmp_path, "server"), "HTTP")
    certificates.load()
    context = certificates.context
    shutil.copy(made / "client.pem", tmp_path / "tls.pem")
    assert not certificates.refresh()
    assert not certificates.refresh()
    assert certificates.context is context
    assert [record.message for record in caplog.records if "is not used" in record.message] != []
    assert len(caplog.records) == 1
    shutil.copy(made / "client.key", tmp_path / "tls.key")
    assert certificates.refresh()


def test_a_file_that_vanishes_leaves_the_old_one_in_use(made, tmp_path, caplog):
    files = place(made, tmp_path, "server")
    certificates = Certificates(files, "HTTP")
    certificates.load()
    files.key.unlink()
    assert not certificates.refresh()
    assert "cannot read its key file: No such file or directory" in caplog.text


def test_a_link_that_leads_elsewhere_is_a_change(made, tmp_path):
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
        place(made, tmp_path / name, name)
    (tmp_path / "now").symlink_to("server")
    certificates = Certificates(CertificateFiles(tmp_path / "now/tls.pem", tmp_path / "now/tls.key"), "HTTP")
    certificates.load()
    (tmp_path / "next").symlink_to("client")
    (tmp_path / "next").replace(tmp_path / "now")
    assert certificates.refresh()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "tls.pem").unlink(), "cannot read its certificate file: No such file"),
        (lambda folder: (folder / "tls.pem").write_text("nothing"), "cannot be used: "),
        (lambda folder: (folder / "tls.key").write_bytes(b"\xff"), "cannot be used: "),
        (lambda folder: (folder / "ca.pem").write_bytes(b"\xff"), "cannot be used: "),
    ],
)
def test_files_that_cannot_be_used_stop_the_start(made, tmp_path, change, message):
    files = place(made, tmp_path, "server")
    shutil.copy(made / "ca.pem", tmp_path / "ca.pem")
    change(tmp_path)
    with pytest.raises(SlipwayError) as caught:
        Certificates(CertificateFiles(files.certificate, files.key, tmp_path / "ca.pem"), "HTTP").load()
    assert caught.value.message.startswith("failed to start the HTTP service: ")
    assert message in caught.value.message


def test_an_encrypted_key_is_refused_without_asking(made, tmp_path):
    files = place(made, tmp_path, "server")
    command = ["openssl", "ec", "-in", made / "server.key", "-aes256", "-passout", "pass:x", "-out", files.key]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(SlipwayError, match="is encrypted; decrypt it first"):
        Certificates(files, "HTTP").load()


def test_authorities_mean_that_clients_have_to_show_a_certificate(made):
    files = CertificateFiles(made / "server.pem", made / "server.key", made / "ca.pem")
    certificates = Certificates(files, "HTTP")
    certificates.load()
    assert certificates.context.verify_mode is ssl.CERT_REQUIRED


def test_old_versions_of_tls_are_not_offered(made):
    certificates = Certificates(CertificateFiles(made / "server.pem", made / "server.key"), "HTTP")
    certificates.load()
    assert certificates.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert certificates.context.verify_mode is ssl.CERT_NONE
