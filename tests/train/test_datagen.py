"""A problem's data: exact file names, records that others can read, every pair once, and nothing half-made."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from slipway.checkpoints.tensor2tensor.example import encode_example
from slipway.checkpoints.tensor2tensor.records import RecordWriter, write_records
from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder
from slipway.cli.main import main
from slipway.errors import Code, SlipwayError
from slipway.train import datagen
from slipway.train.datagen import DatagenOptions, generate_data
from slipway.train.problems import find_problem
from slipway.train.shards import read_pairs, read_shard
from tests.checkpoints.tensor2tensor import independent
from tests.train.corpus import sentences, write_corpus

SHARDS = [f"translate_mine-train-{index:05}-of-00004" for index in range(4)]
VOCABULARY = "vocab.translate_mine.150.subwords"


@pytest.fixture
def mine(tmp_path):
    return find_problem("translate_mine", write_corpus(tmp_path / "usr"))


def options(tmp_path, **given):
    return DatagenOptions(tmp_path / "data", tmp_path / "tmp", **given)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def decoded(encoder, pairs):
    return [tuple(encoder.decode(side[:-1]) for side in pair) for pair in pairs]


@pytest.mark.capability("2.4")
def test_a_local_corpus_gives_a_vocabulary_and_shards_with_exact_names(mine, tmp_path):
    made = generate_data(mine, options(tmp_path))
    assert sorted(contents(tmp_path / "data")) == sorted([VOCABULARY, *SHARDS, "translate_mine-dev-00000-of-00001"])
    assert [(split.split, split.pairs, split.blank) for split in made.splits] == [("train", 200, 0), ("dev", 20, 0)]
    encoder = SubwordTextEncoder.load(made.vocabulary)
    assert encoder.vocabulary_size == made.vocabulary_size
    text = sentences(200, seed=200)
    pairs = decoded(encoder, read_pairs(tmp_path / "data", mine, "train"))
    assert sorted(pairs) == sorted((line, line.upper()) for line in text)
    assert pairs != [(line, line.upper()) for line in text]  # in another order


@pytest.mark.capability("2.5")
def test_an_independent_reader_sees_inputs_and_targets_that_end_in_1(mine, tmp_path):
    made = generate_data(mine, options(tmp_path))
    examples = [independent.example(each) for path in made.splits[0].files for each in independent.records(path)]
    assert len(examples) == 200
    assert all(set(example) == {"inputs", "targets"} for example in examples)
    assert {ids[-1] for example in examples for ids in example.values()} == {1}
    assert min(min(ids) for example in examples for ids in example.values()) == 1


def test_a_reversed_problem_reads_the_same_files_with_the_sides_swapped(mine, tmp_path):
    generate_data(replace(mine, reverse=True), options(tmp_path))
    forwards, backwards = (
        list(read_pairs(tmp_path / "data", replace(mine, reverse=reverse), "dev")) for reverse in (False, True)
    )
    assert all(np.array_equal(one[0], other[1]) for one, other in zip(forwards, backwards, strict=True))
    assert forwards[0][0].dtype == np.int32


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_order(mine, tmp_path):
    found = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_data(mine, DatagenOptions(tmp_path / name, tmp_path / "tmp", seed=seed))
        found[name] = contents(tmp_path / name)
    assert found["a"] == found["b"]
    assert found["a"] != found["c"]
    assert sorted(map(len, found["a"].values())) == sorted(map(len, found["c"].values()))


def test_what_is_there_is_kept(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    before = contents(tmp_path / "data")
    made = generate_data(mine, options(tmp_path, seed=5))
    assert [split.pairs for split in made.splits] == [None, None]
    assert contents(tmp_path / "data") == before


def test_a_vocabulary_that_is_there_is_used(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    other = DatagenOptions(tmp_path / "other", tmp_path / "tmp")
    other.data_dir.mkdir()
    given = SubwordTextEncoder([*SubwordTextEncoder.load(tmp_path / "data" / VOCABULARY).subtokens, "zusätzlich_"])
    given.save(other.data_dir / VOCABULARY)
    assert generate_data(mine, other).vocabulary_size == given.vocabulary_size


def test_a_stopped_run_is_made_again(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    complete = contents(tmp_path / "data")
    (tmp_path / "data" / SHARDS[2]).unlink()
    made = generate_data(mine, options(tmp_path))
    assert [split.pairs for split in made.splits] == [200, None]
    assert contents(tmp_path / "data") == complete


def test_the_number_of_shards_and_of_pairs_can_be_given(mine, tmp_path):
    made = generate_data(mine, options(tmp_path, shards=2, max_pairs=15))
    assert [path.name for path in made.splits[0].files] == [
        "translate_mine-train-00000-of-00002",
        "translate_mine-train-00001-of-00002",
    ]
    assert [split.pairs for split in made.splits] == [15, 15]


def test_another_number_of_shards_beside_the_first_is_refused(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    with pytest.raises(SlipwayError, match="has train data of 'translate_mine' in 4 shards, but 2 are requested"):
        generate_data(mine, options(tmp_path, shards=2))


def test_a_lost_vocabulary_is_not_replaced_by_another(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    (tmp_path / "data" / VOCABULARY).unlink()
    with pytest.raises(SlipwayError, match="shards that were made with it do") as caught:
        generate_data(mine, options(tmp_path))
    assert caught.value.code is Code.NOT_FOUND


def test_text_that_tensor2tensor_compiled_is_used(tmp_path):
    (tmp_path / "tmp").mkdir()
    for split, count in (("train", 30), ("dev", 5)):
        for side, text in ((1, sentences(count)), (2, sentences(count, seed=3))):
            path = tmp_path / "tmp" / f"translate_ende_wmt8k-compiled-{split}.lang{side}"
            path.write_text("".join(f"{line}\n" for line in text))
    made = generate_data(find_problem("translate_ende_wmt8k"), options(tmp_path))
    assert len(made.splits[0].files) == 100
    assert [split.pairs for split in made.splits] == [30, 5]
    assert [path.stat().st_size for path in made.splits[0].files[30:]] == [0] * 70


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("train.de", b"A\n", "lines, but"),
        ("train.en", b"a\xff\n", "line 1 is not valid UTF-8"),
        ("dev.de", b"A\n", "lines, but"),
        ("train.en", b"", "has 0"),
    ],
)
def test_damaged_text_leaves_no_shard(mine, tmp_path, file, data, message):
    (tmp_path / "usr" / file).write_bytes(data)
    with pytest.raises(SlipwayError, match=message):
        generate_data(mine, options(tmp_path))
    left = set(contents(tmp_path / "data"))
    assert left <= ({VOCABULARY, *SHARDS} if file.startswith("dev") else set())


@pytest.mark.parametrize("split", ["train", "dev"])
def test_text_without_a_pair_is_refused(mine, tmp_path, split):
    generate_data(mine, DatagenOptions(tmp_path / "data", tmp_path / "tmp"))
    for path in (tmp_path / "data").glob(f"translate_mine-{split}-*"):
        path.unlink()
    for side, text in (("en", "a\n \n"), ("de", "\nA\n")):
        (tmp_path / "usr" / f"{split}.{side}").write_text(text)
    with pytest.raises(SlipwayError, match=f"the {split} text of 'translate_mine' does not have a pair"):
        generate_data(mine, options(tmp_path))
    assert not list((tmp_path / "data").glob(f"translate_mine*-{split}-*"))


def test_a_full_disk_leaves_no_shard(mine, tmp_path, monkeypatch):
    class Full(RecordWriter):
        def write(self, payload):
            super().write(payload)
            raise SlipwayError(Code.UNAVAILABLE, f"'{self.path}' cannot be written: No space left on device")

    monkeypatch.setattr(datagen, "RecordWriter", Full)
    with pytest.raises(SlipwayError, match="cannot be written"):
        generate_data(mine, options(tmp_path))
    assert set(contents(tmp_path / "data")) == {VOCABULARY}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Ten times the lines take at most 30 MB more: what is kept is a vocabulary and eight bytes a pair."""
    peaks = []
    for lines in (10_000, 100_000):
        usr = write_corpus(tmp_path / str(lines), lines=lines)
        program = (
            "import resource, sys; from slipway.cli.main import main; code = main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        flags = ["--problem=translate_mine", f"--data_dir={usr}/data", f"--tmp_dir={usr}", f"--t2t_usr_dir={usr}"]
        done = subprocess.run(
            [sys.executable, "-c", program, "t2t-datagen", *flags], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 30, peaks


def test_the_command_says_what_it_made(tmp_path, capsys):
    usr = write_corpus(tmp_path / "usr")
    flags = ["--problem", "translate_mine_rev", f"--data_dir={tmp_path}/data", f"--t2t_usr_dir={usr}", "--num_shards=1"]
    assert main(["t2t-datagen", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"vocabulary: {tmp_path}/data/{VOCABULARY} (")
    assert lines[1:] == [
        f"train: {tmp_path}/data/translate_mine-train-00000-of-00001, 200 pairs",
        f"dev: {tmp_path}/data/translate_mine-dev-00000-of-00001, 20 pairs",
    ]
    assert main(["t2t-datagen", *flags]) == 0
    assert capsys.readouterr().out.count("kept as it was") == 2


def test_the_command_lists_the_problems(tmp_path, capsys):
    assert main(["t2t-datagen", "--only_list"]) == 0
    assert capsys.readouterr().out.split() == ["translate_ende_wmt32k", "translate_ende_wmt8k"]


def test_the_command_needs_a_problem_and_a_directory(capsys):
    assert main(["t2t-datagen", "--problem=x"]) == 2
    assert "--data_dir must be given; problems: translate_ende_wmt32k" in capsys.readouterr().err


def test_the_command_names_an_unknown_problem(tmp_path, capsys):
    assert main(["t2t-datagen", "--problem=translate_ende_wmt31k", f"--data_dir={tmp_path}"]) == 1
    assert "did you mean 'translate_ende_wmt32k'" in capsys.readouterr().err


def test_data_that_is_missing_names_the_command(mine, tmp_path):
    with pytest.raises(SlipwayError, match="run t2t-datagen first"):
        list(read_pairs(tmp_path, mine, "train"))


def test_a_missing_shard_is_named(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    (tmp_path / "data" / SHARDS[1]).unlink()
    with pytest.raises(SlipwayError, match=f"lacks 1 of 4 shards: {SHARDS[1]}"):
        list(read_pairs(tmp_path / "data", mine, "train"))


def test_two_sets_of_shards_are_refused(mine, tmp_path):
    generate_data(mine, options(tmp_path))
    (tmp_path / "data" / "translate_mine-train-00000-of-00009").touch()
    with pytest.raises(SlipwayError, match="in 4 and 9 shards: remove one of them"):
        list(read_pairs(tmp_path / "data", mine, "train"))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xff\xff", "a serialized tf.train.Example is expected"),
        (encode_example({"inputs": [4, 1]}), "the example does not have 'targets'; it has inputs"),
        (encode_example({"inputs": [4, 1], "targets": [5]}), "'targets' ends in 5, expected 1"),
        (encode_example({"inputs": [-4, 1], "targets": [1]}), "'inputs' has the id -4"),
        (encode_example({"inputs": [1 << 40, 1], "targets": [1]}), "'inputs' has the id 1099511627776"),
    ],
    ids=["not an example", "one side", "no end", "negative", "too large"],
)
def test_a_record_that_is_not_a_pair_is_named_with_its_number(tmp_path, payload, message):
    path = tmp_path / "shard"
    write_records(path, [encode_example({"inputs": [1], "targets": [1]}), payload])
    with pytest.raises(SlipwayError, match=rf"'{path}', record 2: {message}"):
        list(read_shard(path))
