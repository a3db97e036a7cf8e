"""The code blocks of the pages: command lines that the commands accept; Python, JSON, TOML and configurations parse.

docs/python.md runs in tests/program, and the commands of tensor2tensor are held by tests/test_training_document.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shlex
import tomllib
from importlib import import_module

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.cli.infer_parser import infer_parser
from slipway.cli.main import ALIASED, COMMANDS
from slipway.cli.model_flags import split_flags
from slipway.config.options import parse_options
from slipway.proxy.options import parse_options as parse_proxy_options
from slipway.runtime.arguments import SETTINGS
from tests.docs.pages import DOCS, PAGES, blocks, name_of, prose

BLOCKS = [block for page in PAGES for block in blocks(page)]
OPTIONS = {"serve": parse_options, "proxy": parse_proxy_options}
HELP = ("--help", "--version")


def command_lines():
    """Return the words of each `$ slipway ...`, without comments, redirections and what follows a pipe or `&`."""
    for block in BLOCKS:
        for line in re.findall(
            r"^(?:\$ )?((?:[A-Z_]+=\S+ )*slipway .+)$", block.text.replace("\\\n", " "), re.MULTILINE
        ):
            words = shlex.split(re.sub(r"\$\([^)]*\)|\$!", "1", line), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            end = next((place for place, word in enumerate(words) if re.fullmatch(r"[|&]+|\d?>.*|;", word)), None)
            yield block.place, words[1:end]


def command_cells():
    """Return the words of each command line in the tables of troubleshooting: they are to be pasted, not described."""
    page = DOCS / "troubleshooting.md"
    for text in re.findall(r"`((?:[A-Z_]+=\S+ )?slipway [a-z]+ [^`]+)`", prose(page)):
        yield name_of(page), [word for word in shlex.split(text) if "=" not in word or word.startswith("-")][1:]


LINES = [*command_lines(), *command_cells()]


class ParsedError(Exception):
    """The command line was accepted; nothing must be run."""


@pytest.fixture
def only_parse(monkeypatch, tmp_path):
    """Have commands end when they have read their command line; files and variables that the pages name are there."""
    monkeypatch.chdir(tmp_path)
    for name in ("keys", "slipway.toml"):
        (tmp_path / name).touch(0o600)
    (tmp_path / "keys").write_text("key\n")
    monkeypatch.setenv("INFER_KEY", "a key")
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser, words=None, namespace=None):
        raise ParsedError(parse(parser, words, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)


@pytest.mark.parametrize(("place", "words"), LINES, ids=[f"{place} {words[0]}" for place, words in LINES])
def test_a_command_line_is_accepted(place, words, only_parse):
    name, *rest = (word.replace("/run/secrets/admin", "keys") for word in words)
    if name in HELP or "--help" in rest:
        return
    assert name in COMMANDS
    if name in OPTIONS:
        OPTIONS[name](rest, {})
    elif name == "infer":
        own, flags = split_flags(rest, infer_parser())
        assert {flag.name for flag in flags} <= {each for argument in SETTINGS for each in argument.names}
        with pytest.raises(ParsedError):
            infer_parser().parse_args(own)
    elif name not in ALIASED:
        with pytest.raises(ParsedError):
            import_module(COMMANDS[name].module).run(rest)


def test_command_lines_are_found():
    assert len(LINES) > 40
    assert {words[0] for _, words in LINES} >= {"serve", "convert", "infer", "check", "verify", "proxy", "attack"}


def test_a_wrong_command_line_would_be_refused(only_parse):
    with pytest.raises(SystemExit):
        import_module(COMMANDS["check"].module).run(["models", "--fixx"])


def of(*languages):
    return [block for block in BLOCKS if block.language in languages]


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.place)
def test_a_python_block_compiles(block):
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize("block", of("json", "toml", "pbtxt"), ids=lambda block: block.place)
def test_a_block_of_data_parses(block):
    match block.language:
        case "json":
            json.loads(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "pbtxt":
            text_format.Parse(block.text, model_config_pb2.ModelConfig())


def test_bodies_of_curl_are_json():
    found = 0
    for block in BLOCKS:
        for line in re.findall(r"^\$ (curl .+)$", block.text.replace("\\\n", " "), re.MULTILINE):
            words = shlex.split(line)
            for flag, body in itertools.pairwise(words):
                if flag == "-d" and "..." not in body:
                    assert json.loads(body), block.place
                    found += 1
    assert found > 5


def test_every_language_is_one_that_is_checked_or_is_not_code():
    known = {"", "console", "text", "ini", "python", "json", "toml", "pbtxt", "sh", "yaml"}
    assert {block.language for block in BLOCKS} <= known
