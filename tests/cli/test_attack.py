"""`slipway attack`: whom it attacks, what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.attack.results import groups_markdown
from slipway.attack.table import GROUPS
from slipway.cli.main import main
from tests.attacks.test_weak_servers import weak_server

URL = "http://127.0.0.1:1"


def run(*words: str) -> int:
    """Run the command and return its exit code."""
    try:
        return main(["attack", *words])
    except SystemExit as ended:
        return int(str(ended.code))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "specify the --url of a server on this machine"),
        (["--url", URL, "--sceonds", "1"], "unrecognized arguments: --sceonds"),
        (["--url", URL, "--seconds", "0"], "--seconds is 0; it must be above 0"),
        (["--url", URL, "--patience-ms", "nan"], "--patience-ms is nan; it must be above 0"),
        (["--url", URL, "--group", "host"], "group 'host' is unknown: did you mean 'hosts'?"),
        (["--url", URL, "--group", "1000"], f"group '1000' is unknown: there are 1 to {len(GROUPS)}"),
        (["--url", URL, "--pid", "4194305"], "--pid 4194305 is not a process"),
        (["--url", URL], "no KServe v2 server at 127.0.0.1:1: no connection"),
        (["--url", "http://192.0.2.1:8000"], "leads to 192.0.2.1, which is not a loopback address"),
        (["--url", "http://[::1"], "'http://[::1' is not the address of a server: Invalid IPv6 URL"),
        (["--url", "http://0.0.0.0:8000"], "leads to 0.0.0.0, which is not a loopback address"),
        (["--url", "http://[::ffff:192.0.2.1]:8000"], "is not a loopback address"),
        (["--url", URL, "--grpc", "192.0.2.1:8001"], "--grpc '192.0.2.1:8001' leads to 192.0.2.1"),
        (["--url", "https://127.0.0.1:8000"], "begins with 'https://', but the attacks are sent without TLS"),
        (["--url", "http://127.0.0.1:8000/v2"], "contains more than a host and a port"),
        (["--url", "http://127.0.0.1:http"], "is not the address of a server"),
        (["--url", "http://"], "does not name a host"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, words, text):
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert text in printed.err
    assert printed.err.count("\n") == 1


def test_a_name_that_leads_to_another_machine_among_others_is_refused(monkeypatch, capsys):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 8000)) for ip in ("127.0.0.1", "203.0.113.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert run("--url", "http://models.example:8000") == 2
    assert "'http://models.example:8000' leads to 203.0.113.7" in capsys.readouterr().err


def test_the_groups_are_listed_without_sending_anything(capsys):
    assert run("--list") == 0
    printed = capsys.readouterr().out
    assert [group.name for group in GROUPS if group.name not in printed] == []


def test_what_held_is_a_row_and_exit_code_0(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with weak_server() as target:
        assert run("--url", f"http://{target.http}", "--group", "hosts", "9", "grpc-pings") == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in printed.splitlines() if line.startswith("| ")]
    assert rows[2:] == [["5", "hosts", "held"], ["9", "announced-lengths", "held"], ["50", "grpc-pings", "skipped"]]
    assert "50 grpc-pings: skipped: no gRPC address was given (--grpc)" in printed
    assert printed.endswith("2 held, 0 not held, 1 skipped\n")


def test_what_did_not_hold_is_a_line_for_each_case_and_exit_code_1(capsys):
    with weak_server("cors") as target:
        words = ("--url", f"http://{target.http}", "--pid", str(target.pid), "--group", "cross-origin-reads")
        assert run(*words) == 1
        printed = capsys.readouterr().out
        assert "46 cross-origin-reads: GET /v2: a page of http://evil.example may read the response ('*')" in printed
        assert run(*words, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["held"] is False
    (group,) = document["groups"]
    assert (group["number"], group["name"], group["result"]) == (46, "cross-origin-reads", "not held")
    assert group["tried"] == group["planned"] == 9
    assert len(group["lines"]) == 9
    assert group["health_checks"] > 0
    assert group["memory_peak_mib"] is not None


def test_a_server_that_is_gone_ends_the_run_unless_it_goes_on(capsys):
    for extra, left in (([], 1), (["--keep-going"], 0)):
        with weak_server("recursive") as target:
            assert run("--url", f"http://{target.http}", "--group", "json-depth", "json-data", *extra) == 1
        printed = capsys.readouterr()
        assert ("stopped with 1 groups left" in printed.err) == bool(left)
        assert ("json-data: skipped: the server does not serve any more" in printed.out) == (not left)


def test_a_server_without_an_index_needs_the_name_of_a_model(capsys):
    with weak_server("without-index") as target:
        words = ("--url", f"http://{target.http}", "--group", "hosts")
        assert run(*words) == 2
        assert "name one with --model" in capsys.readouterr().err
        assert run(*words, "--model", "nothing") == 2
        assert "does not describe inputs of a model 'nothing'" in capsys.readouterr().err
        assert run(*words, "--model", "m") == 0


def test_it_is_a_module_too():
    command = [sys.executable, "-m", "slipway.attack", "--list"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    assert "body-ends" in printed.stdout


def test_the_document_has_the_groups_of_the_table():
    text = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    assert groups_markdown(GROUPS) in text


def test_groups_have_numbers_in_order_and_names_of_their_own():
    assert [group.number for group in GROUPS] == list(range(1, len(GROUPS) + 1))
    assert len({group.name for group in GROUPS}) == len(GROUPS)
