"""`t2t-decoder`: one line out per line in, in order, with the formats and names of tensor2tensor."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.reader import read_tensor2tensor
from slipway.cli.main import main
from slipway.convert.tensor2tensor.network import PlainTransformer
from slipway.convert.tensor2tensor.reference import ReferenceTranslator
from tests.kits.tensor2tensor_models import HPARAMS, PROBLEM, vocabulary, write_data, write_trained

pytestmark = pytest.mark.capability("2.12")

LINES = ["hello world", "", "good bye and hello again, world and world", "world", "a", "hello again"]
EXTRA = 4


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("decoder")
    write_trained(root / "model")
    write_data(root / "data")
    return root


@pytest.fixture(scope="module")
def reference(paths):
    checkpoint = read_tensor2tensor(paths / "model", HPARAMS)
    return ReferenceTranslator(PlainTransformer(checkpoint.spec, checkpoint.weights))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


@pytest.fixture
def decode(paths):
    def run(*flags, settings=""):
        return main(
            [
                "t2t-decoder",
                "--model=transformer",
                "--hparams_set=transformer_tiny",
                f"--problem={PROBLEM}",
                f"--data_dir={paths / 'data'}",
                f"--output_dir={paths / 'model'}",
                f"--decode_hparams=extra_length={EXTRA}{settings}",
                "--threads=1",
                *flags,
            ]
        )

    return run


def expected(reference, line, width=4, alpha=0.6):
    if not line.strip():
        return ""
    ids = np.array([*vocabulary().encode(line), 1])
    most = len(ids) + EXTRA
    found = reference.beams(ids, most, width=width, alpha=alpha) if width > 1 else reference.greedy(ids, most)
    return vocabulary().decode(each for each in found.ids if each > 1)


@pytest.mark.parametrize(("settings", "width"), [("", 4), (",beam_size=1", 1), (",batch_size=2", 4)])
def test_every_line_has_its_translation_on_the_same_line(decode, source, reference, tmp_path, settings, width):
    assert decode(f"--decode_from_file={source}", f"--decode_to_file={tmp_path / 'out'}", settings=settings) == 0
    assert (tmp_path / "out").read_text().split("\n") == [*(expected(reference, line, width) for line in LINES), ""]


def test_the_default_name_says_how_the_file_was_decoded(decode, source):
    assert decode(f"--decode_from_file={source}", settings=",beam_size=2,alpha=1.5") == 0
    name = f"in.txt.transformer.transformer_tiny.{PROBLEM}.beam2.alpha1.5.decodes"
    assert len((source.parent / name).read_text().splitlines()) == len(LINES)


def test_beams_are_separated_by_tabs_and_scores_follow_them(decode, source, tmp_path):
    flags = (f"--decode_from_file={source}", f"--decode_to_file={tmp_path / 'out'}")
    assert decode(*flags, settings=",beam_size=3,return_beams=true") == 0
    plain = [line.split("\t") for line in (tmp_path / "out").read_text().splitlines()]
    assert [len(line) for line in plain] == [3] * len(LINES)
    assert decode(*flags, settings=",beam_size=3,return_beams=true,write_beam_scores=true") == 0
    scored = [line.split("\t") for line in (tmp_path / "out").read_text().splitlines()]
    assert [line[::2] for line in scored] == plain
    scores = [[float(each) for each in line[1::2]] for line in scored]
    assert all(row == sorted(row, reverse=True) for row in scores)
    assert all(len(each.rpartition(".")[2]) == 2 for line in scored for each in line[1::2])


def test_a_line_beyond_the_limit_is_cut_but_not_lost(decode, tmp_path, reference):
    long = tmp_path / "long.txt"
    long.write_text("hello " * 3000 + "\nworld\n")
    flags = (f"--decode_from_file={long}", f"--decode_to_file={tmp_path / 'out'}")
    assert decode(*flags, settings=",beam_size=1,max_input_size=9") == 0
    first, second = (tmp_path / "out").read_text().splitlines()
    ids = np.array([*vocabulary().encode("hello " * 8)[:8], 1])
    found = reference.greedy(ids, len(ids) + EXTRA).ids
    assert first == vocabulary().decode(each for each in found if each > 1)
    assert second == expected(reference, "world", width=1)


def test_the_output_can_get_the_checkpoints_time(decode, source, paths, tmp_path):
    weights = paths / "model/model.ckpt-7.safetensors"
    os.utime(weights, (1_000_000, 1_000_000))
    target = tmp_path / "out"
    assert decode(f"--decode_from_file={source}", f"--decode_to_file={target}", "--keep_timestamp") == 0
    assert target.stat().st_mtime == 1_000_000


@pytest.mark.parametrize(
    ("flags", "settings"), [(("--decode_shards=2", "--worker_id=1"), ""), ((), ",shards=2,shard_id=1")]
)
def test_shards_have_their_own_files(decode, source, tmp_path, flags, settings):
    (tmp_path / "in.txt001").write_text("world\n")
    flags = (*flags, f"--decode_from_file={source}")
    assert decode(*flags, f"--decode_to_file={tmp_path / 'out'}", settings=settings) == 0
    assert len((tmp_path / "out001").read_text().splitlines()) == 1


def test_typed_lines_are_translated_until_q(decode, reference, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("hello world\n\nworld\nq\nhello\n"))
    assert decode("--decode_interactive") == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines == [expected(reference, "hello world"), "", expected(reference, "world"), ""]


def test_scores_are_mean_negative_log_probabilities_of_the_target(decode, paths, tmp_path):
    pairs = [("hello world", "hallo welt"), ("good bye", "welt")]
    (tmp_path / "pairs").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    assert decode(f"--score_file={tmp_path / 'pairs'}", f"--decode_to_file={tmp_path / 'scores'}") == 0
    checkpoint = read_tensor2tensor(paths / "model", HPARAMS)
    network = PlainTransformer(checkpoint.spec, checkpoint.weights)
    for line, (source, target) in zip((tmp_path / "scores").read_text().splitlines(), pairs, strict=True):
        ids = [*vocabulary().encode(target), 1]
        state = network.read(np.array([*vocabulary().encode(source), 1]))
        before = [0, *ids[:-1]]
        steps = [network.step(state, np.array([before[at]]))[0, token] for at, token in enumerate(ids)]
        assert float(line) == pytest.approx(-np.mean(steps), abs=2e-5)


@pytest.mark.parametrize(
    ("flags", "settings", "message"),
    [
        ((), "", "specify one of --decode_from_file, --score_file and --decode_interactive"),
        (("--decode_from_file=/nowhere/in",), "", "'/nowhere/in' does not exist"),
        (("--decode_interactive", "--problem=translate_ende_wmt9k"), "", "translate_ende_wmt8k"),
        (("--decode_interactive",), ",beam_sise=1", "did you mean 'beam_size'?"),
        (("--decode_interactive", "--model=transformr"), "", "did you mean 'transformer'?"),
        (("--decode_interactive", "--model=lstm_seq2seq"), "", "only 'transformer' is"),
        (("--decode_interactive", "--checkpoint_path=/nowhere/model.ckpt-3"), "", "/nowhere/model.ckpt-3"),
    ],
)
def test_what_is_wrong_is_one_line(decode, capsys, flags, settings, message):
    assert decode(*flags, settings=settings) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_file_that_is_not_text_is_refused_with_its_line(decode, tmp_path, capsys):
    (tmp_path / "in").write_bytes(b"good\nb\xffd\n")
    assert decode(f"--decode_from_file={tmp_path / 'in'}") == 1
    assert "is not valid UTF-8 (line 2)" in capsys.readouterr().err


def test_a_line_to_score_without_a_tab_is_refused_with_its_number(decode, tmp_path, capsys):
    (tmp_path / "pairs").write_text("a\tb\nonly\n")
    assert decode(f"--score_file={tmp_path / 'pairs'}", f"--decode_to_file={tmp_path / 'out'}") == 1
    assert "line 2: expected an input, a tab and a target" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
