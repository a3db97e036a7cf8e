"""Corpora are found where tensor2tensor keeps them, or downloaded and unpacked there, with nothing else touched."""

import io
import random
import socket
import struct
import tarfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from slipway.errors import Code, SlipwayError
from slipway.train.corpora import download, find_corpora, unpack
from slipway.train.problems import Corpus, TranslationProblem

SOURCE, TARGET = "training/news.de-en.en", "training/news.de-en.de"


def archive(members, mode="w:gz"):
    """Return the bytes of a tar archive; `members` are names and bytes, or a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for member in members:
            info, data = (
                (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            )
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


GOOD = archive([("README", b"x"), (SOURCE, b"hello\n"), ("../../outside", b"evil"), (TARGET, b"hallo\n")])


@contextmanager
def server(answers):
    """Serve `answers`: path -> (status, headers, body); yield the address and the list of requested paths."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # the library's name
            asked.append(self.path)
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}", asked
        finally:
            running.shutdown()
            thread.join()


def problem_at(url):
    corpora = (Corpus(SOURCE, TARGET, f"{url}/news-v13.tgz"),)
    return TranslationProblem("translate_x", 100, corpora, corpora)


def test_an_archive_is_downloaded_once_and_two_members_unpacked(tmp_path):
    with server({"/news-v13.tgz": (200, {"Content-Length": len(GOOD)}, GOOD)}) as (url, asked):
        problem = problem_at(url)
        seen = []
        for _ in range(2):
            [(source, target)] = find_corpora(problem, problem.train, tmp_path, lambda *step: seen.append(step))
    assert asked == ["/news-v13.tgz"]
    assert seen == [(f"{url}/news-v13.tgz", len(GOOD), len(GOOD))]
    assert (source, target) == (tmp_path / SOURCE, tmp_path / TARGET)
    assert (source.read_text(), target.read_text()) == ("hello\n", "hallo\n")
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"news-v13.tgz", SOURCE, TARGET}
    assert not (tmp_path.parent.parent / "outside").exists()


def test_an_archive_that_is_there_is_not_downloaded(tmp_path):
    (tmp_path / "news-v13.tgz").write_bytes(GOOD)
    problem = problem_at("http://127.0.0.1:9")
    assert find_corpora(problem, problem.train, tmp_path)[0][0].read_text() == "hello\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {}, b"no"), "cannot be downloaded: Not Found; without a network, put the archive at"),
        ((200, {"Content-Length": "100"}, b"short"), "ended after 5 of 100 bytes"),
        ((200, {"Content-Length": "5000"}, b""), "has 5000 bytes, more than the limit of 1000"),
        ((200, {}, b"x" * 2000), "delivers more than the limit of 1000 bytes"),
        ((302, {"Location": "ftp://127.0.0.1/x"}, b""), "it redirects to 'ftp://127.0.0.1/x'"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "Redirection to url 'file:///etc/passwd' is not allowed"),
    ],
    ids=["not found", "short", "too large", "endless", "to ftp", "to a file"],
)
def test_a_download_that_fails_leaves_nothing(tmp_path, answer, message):
    with server({"/a.tgz": answer}) as (url, _), pytest.raises(SlipwayError, match=message) as caught:
        download(f"{url}/a.tgz", tmp_path / "a.tgz", limit=1000)
    assert caught.value.code is Code.UNAVAILABLE
    assert not list(tmp_path.iterdir())


def test_a_connection_that_is_lost_is_not_an_error_of_the_file(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()  # resets it

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(SlipwayError, match=r"a.tgz' cannot be downloaded: .*reset"):
            download(f"http://127.0.0.1:{listener.getsockname()[1]}/a.tgz", tmp_path / "a.tgz")
        thread.join()
    assert not list(tmp_path.iterdir())


def test_no_server_is_named(tmp_path):
    with pytest.raises(SlipwayError, match=r"http://127.0.0.1:9/a.tgz' cannot be downloaded: .*refused"):
        download("http://127.0.0.1:9/a.tgz", tmp_path / "a.tgz")


def test_only_http_is_downloaded(tmp_path):
    with pytest.raises(SlipwayError, match="expected http:// or https://"):
        download("file:///etc/passwd", tmp_path / "a.tgz")


def linked(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive([(SOURCE, b"a")]), f"does not contain {TARGET}"),
        (archive([("x/" + SOURCE, b"a"), ("/" + TARGET, b"b")]), f"does not contain {TARGET}, {SOURCE}"),
        (archive([linked(SOURCE, tarfile.SYMTYPE), (TARGET, b"b")]), f"'{SOURCE}' .* is not a plain file"),
        (archive([linked(SOURCE, tarfile.LNKTYPE), (TARGET, b"b")]), f"'{SOURCE}' .* is not a plain file"),
        (archive([(SOURCE, b"a" * 2000)]), "has 2000 bytes, more than the limit of 1000"),
        (b"not an archive", "is damaged: .*; remove it, and it will be downloaded again"),
        (GOOD[: len(GOOD) // 2], "is damaged|does not contain"),
        (GOOD[:40] + b"\xff" * 20 + GOOD[60:], "is damaged|does not contain"),
    ],
    ids=["one missing", "other paths", "a link", "a hard link", "too large", "text", "cut short", "overwritten"],
)
def test_an_archive_that_is_damaged_or_something_else_is_refused(tmp_path, data, message):
    path = tmp_path / "a.tgz"
    path.write_bytes(data)
    with pytest.raises(SlipwayError, match=message) as caught:
        unpack(path, (SOURCE, TARGET), tmp_path / "out", limit=1000)
    assert caught.value.code is Code.INVALID_ARG


def test_damage_in_the_middle_of_a_member_is_not_an_error_of_the_file(tmp_path):
    data = bytearray(archive([(SOURCE, random.Random(1).randbytes(2_000_000)), (TARGET, b"b")], "w:bz2"))
    data[1_500_000:1_500_100] = bytes(100)  # bz2 reports it as an OSError
    path = tmp_path / "a.tgz"
    path.write_bytes(data)
    with pytest.raises(SlipwayError, match=r"archive '.*' is damaged: Invalid data stream; remove it"):
        unpack(path, (SOURCE, TARGET), tmp_path / "out")
    assert not [each for each in (tmp_path / "out").rglob("*") if each.is_file()]


def test_missing_files_of_an_own_problem_are_all_named(tmp_path):
    corpora = (Corpus("a.en", "a.de"), Corpus("b.en", "b.de"))
    (tmp_path / "a.de").write_text("x\n")
    problem = TranslationProblem("mine", 100, corpora, corpora, directory=tmp_path)
    with pytest.raises(SlipwayError, match=r"a\.en, .*b\.en, .*b\.de") as caught:
        find_corpora(problem, corpora, tmp_path / "tmp")
    assert caught.value.code is Code.NOT_FOUND
