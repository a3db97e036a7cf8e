"""The tensor2tensor example: its words are right, its corpus is fair, and its script runs from top to bottom."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "tensor2tensor"
MODULES = ("english_words", "german_words", "make_corpus")


@pytest.fixture
def modules(monkeypatch):
    """The example's modules, which find each other as they do when a script in their folder runs."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield [importlib.import_module(name) for name in MODULES]
    for name in MODULES:
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (7, "seven", "sieben"),
        (16, "sixteen", "sechzehn"),
        (17, "seventeen", "siebzehn"),
        (21, "twenty-one", "einundzwanzig"),
        (30, "thirty", "dreißig"),
        (66, "sixty-six", "sechsundsechzig"),
        (77, "seventy-seven", "siebenundsiebzig"),
        (100, "one hundred", "einhundert"),
        (101, "one hundred and one", "einhunderteins"),
        (347, "three hundred and forty-seven", "dreihundertsiebenundvierzig"),
        (1001, "one thousand and one", "eintausendeins"),
        (1100, "one thousand one hundred", "eintausendeinhundert"),
        (21_012, "twenty-one thousand and twelve", "einundzwanzigtausendzwölf"),
        (101_000, "one hundred and one thousand", "einhunderteintausend"),
        (
            999_999,
            "nine hundred and ninety-nine thousand nine hundred and ninety-nine",
            "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
        ),
    ],
)
def test_numbers_are_written_out(modules, value, english, german):
    assert (modules[0].number(value), modules[1].number(value)) == (english, german)


@pytest.mark.parametrize(
    ("hour", "minute", "english", "german"),
    [
        (0, 0, "twelve o'clock at night", "zwölf Uhr nachts"),
        (1, 0, "one o'clock at night", "ein Uhr nachts"),
        (0, 30, "half past twelve at night", "halb eins nachts"),
        (8, 25, "twenty-five past eight in the morning", "fünf vor halb neun morgens"),
        (12, 45, "quarter to one in the afternoon", "Viertel vor eins nachmittags"),
        (15, 35, "twenty-five to four in the afternoon", "fünf nach halb vier nachmittags"),
        (18, 15, "quarter past six in the evening", "Viertel nach sechs abends"),
        (23, 55, "five to twelve at night", "fünf vor zwölf nachts"),
    ],
)
def test_times_are_written_as_they_are_said(modules, hour, minute, english, german):
    assert (modules[0].spoken_time(hour, minute), modules[1].spoken_time(hour, minute)) == (english, german)


@pytest.mark.parametrize(
    ("hour", "minute", "english", "german"),
    [(1, 1, "one oh one", "ein Uhr eins"), (21, 40, "twenty-one forty", "einundzwanzig Uhr vierzig")],
)
def test_times_are_written_as_a_timetable_has_them(modules, hour, minute, english, german):
    assert (modules[0].exact_time(hour, minute), modules[1].exact_time(hour, minute)) == (english, german)


@pytest.mark.parametrize(
    ("day", "english", "german"),
    [
        (date(1984, 3, 3), "the third of March nineteen eighty-four", "dritten März neunzehnhundertvierundachtzig"),
        (date(1900, 1, 1), "the first of January nineteen hundred", "ersten Januar neunzehnhundert"),
        (date(1905, 7, 7), "the seventh of July nineteen oh five", "siebten Juli neunzehnhundertfünf"),
        (date(2000, 8, 12), "the twelfth of August two thousand", "zwölften August zweitausend"),
        (date(2009, 5, 20), "the twentieth of May two thousand and nine", "zwanzigsten Mai zweitausendneun"),
        (
            date(2031, 5, 31),
            "the thirty-first of May twenty thirty-one",
            "einunddreißigsten Mai zweitausendeinunddreißig",
        ),
    ],
)
def test_dates_are_written_out(modules, day, english, german):
    assert (modules[0].full_date(day), modules[1].full_date(day, dative=True)) == (english, german)


def test_days_have_their_weekday_and_case(modules):
    day = date(2026, 11, 29)
    assert modules[0].weekday_and_day(day) == "Sunday, the twenty-ninth of November"
    assert modules[1].weekday_and_day(day, dative=True) == "Sonntag, dem neunundzwanzigsten November"
    assert modules[1].weekday_and_day(day, dative=False) == "Sonntag, der neunundzwanzigste November"


@pytest.mark.parametrize(
    ("amount", "english", "nominative", "accusative"),
    [
        ((1, 0), "one euro", "ein Euro", "einen Euro"),
        ((0, 1), "one cent", "ein Cent", "einen Cent"),
        ((1, 50), "one euro and fifty cents", "ein Euro und fünfzig Cent", "einen Euro und fünfzig Cent"),
        ((9, 1), "nine euros and one cent", "neun Euro und ein Cent", "neun Euro und einen Cent"),
        ((101, 0), "one hundred and one euros", "einhundertein Euro", "einhundertein Euro"),
    ],
)
def test_amounts_are_written_out(modules, amount, english, nominative, accusative):
    assert modules[0].amount(*amount) == english
    assert modules[1].amount(*amount) == nominative
    assert modules[1].amount(*amount, accusative=True) == accusative


def test_what_is_held_out_is_not_in_the_training_lines(modules):
    training, held = modules[2].make_corpus(3000, 200, seed=5)
    assert (len(training), len(held)) == (3000, 200)
    values = {pair[0] for pair in training}
    assert not values & {pair[0] for pair in held}
    numbers = {line.removeprefix("The number is ").removesuffix(".") for line, _ in held if "number is" in line}
    assert numbers
    assert not [line for line in values if line.removeprefix("The number is ").removesuffix(".") in numbers]


def test_the_same_seed_makes_the_same_corpus(modules):
    assert modules[2].make_corpus(300, 20, seed=5) == modules[2].make_corpus(300, 20, seed=5)
    assert modules[2].make_corpus(300, 20, seed=5) != modules[2].make_corpus(300, 20, seed=6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.capability("2.17")
@pytest.mark.capability("2.20")
def test_the_tutorial_runs_from_top_to_bottom_and_its_output_is_right(tmp_path):
    http, grpc, metrics = free_ports(3)
    settings = {"TRITON_DATA_DIR": tmp_path, "PYTHON": sys.executable, "PYTHONPATH": ROOT}
    settings |= {"HTTP_PORT": http, "GRPC_PORT": grpc, "METRICS_PORT": metrics}
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}

    def run(*command):
        ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        return ran

    ran = run("bash", EXAMPLE / "run.sh")
    [share] = re.findall(r"^exact match: ([\d.]+)% of 500 lines$", ran.stdout, re.MULTILINE)
    assert float(share) >= 98
    [bleu] = re.findall(r"^BLEU_cased = +([\d.]+)$", ran.stdout, re.MULTILINE)
    assert float(bleu) >= 98
    translated = (tmp_path / "triton_infer_output.txt").read_bytes()
    assert translated.count(b"\n") == 500
    problem = ("--t2t_usr_dir=corpus", "--problem=translate_written_out", "--data_dir=t2t_data/translate_written_out")
    files = ("--decode_from_file=corpus/held_out.en", "--decode_to_file=decoded.txt")
    run("bin/t2t-decoder", *problem, "--hparams_set=transformer_tiny", "--output_dir=triton_model_dir", *files)
    assert (tmp_path / "decoded.txt").read_bytes() == translated
    curves = ET.parse(tmp_path / "loss.svg").findall("{http://www.w3.org/2000/svg}polyline")  # noqa: S314
    assert len(curves) == 2


def free_ports(count):
    """Return ports that are free now; the script needs to know them before its server starts."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
