"""Problems are found by name, with tensor2tensor's file names; own ones are described in problems.toml."""

import pytest

from slipway.errors import Code, SlipwayError
from slipway.train.problems import find_problem, problem_names
from slipway.train.shards import shard_names
from tests.train.corpus import write_corpus

GOOD = 'source = "a"\ntarget = "b"\ndev_source = "c"\ndev_target = "d"\n'


def test_wmt_problems_have_tensor2tensors_file_names():
    problem = find_problem("translate_ende_wmt32k")
    assert problem.vocabulary_file == "vocab.translate_ende_wmt32k.32768.subwords"
    assert find_problem("translate_ende_wmt8k").vocabulary_file == "vocab.translate_ende_wmt8k.8192.subwords"
    names = shard_names(problem, "train", problem.train_shards)
    assert (names[0], names[-1], len(names)) == (
        "translate_ende_wmt32k-train-00000-of-00100",
        "translate_ende_wmt32k-train-00099-of-00100",
        100,
    )
    assert shard_names(problem, "dev", problem.dev_shards) == ["translate_ende_wmt32k-dev-00000-of-00001"]


def test_a_reversed_problem_has_the_same_files():
    problem = find_problem("translate_ende_wmt32k_rev")
    assert (problem.name, problem.full_name, problem.reverse) == (
        "translate_ende_wmt32k",
        "translate_ende_wmt32k_rev",
        True,
    )


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(SlipwayError, match="'translate_ende_wmt23k' is unknown; did you mean 'translate_ende_wmt32k'"):
        find_problem("translate_ende_wmt23k")


def test_a_problem_of_tensor2tensor_that_is_not_supported_is_refused_with_the_reason():
    with pytest.raises(SlipwayError, match="packs several sentences") as caught:
        find_problem("translate_ende_wmt32k_packed_rev")
    assert caught.value.code is Code.UNSUPPORTED


def test_an_own_problem_is_found_beside_the_others(tmp_path):
    directory = write_corpus(tmp_path)
    assert problem_names(directory)[-1] == "translate_mine"
    problem = find_problem("translate_mine_rev", directory)
    assert (problem.vocabulary_file, problem.train_shards, problem.reverse, problem.directory) == (
        "vocab.translate_mine.150.subwords",
        4,
        True,
        directory,
    )


def test_several_files_are_one_corpus_each(tmp_path):
    text = GOOD.replace('source = "a"\ntarget = "b"', 'source = ["a", "x"]\ntarget = ["b", "y"]')
    (tmp_path / "problems.toml").write_text(f"[mine]\n{text}vocabulary = 'shared.subwords'\n")
    problem = find_problem("mine", tmp_path)
    assert [(corpus.source, corpus.target) for corpus in problem.train] == [("a", "b"), ("x", "y")]
    assert problem.vocabulary_file == "shared.subwords"


def test_a_directory_without_problems_says_what_to_write(tmp_path):
    with pytest.raises(SlipwayError, match=r"own problems are tables in it.*Python modules are not imported"):
        find_problem("mine", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mine", "cannot be read"),
        ("mine = 3", r"\[mine\] is not a table"),
        (f"[Mine]\n{GOOD}", "is not a name for a problem"),
        (f"[mine_rev]\n{GOOD}", "without '_rev' at the end"),
        (f"[translate_ende_wmt8k]\n{GOOD}", "is the name of one of tensor2tensor's problems"),
        (f"[mine]\n{GOOD}sauce = 'x'", "'sauce' is unknown; did you mean 'source'"),
        ("[mine]\nsource = 'a'\ntarget = 'b'\ndev_target = 'c'", "dev_source has to be the path of a text file"),
        ("[mine]\nsource = ['a', 'e']\n" + GOOD.split("\n", 1)[1], "source has 2 files, but target has 1"),
        (f"[mine]\n{GOOD}shards = 0", "shards is 0, expected a whole number from 1 to 1000"),
        (f"[mine]\n{GOOD}vocabulary_size = 'big'", "vocabulary_size is big, expected a whole number"),
        (f"[mine]\n{GOOD}vocabulary = '../x'", "vocabulary has to be the name of a file"),
    ],
)
def test_a_damaged_description_is_refused_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "problems.toml").write_text(text)
    with pytest.raises(SlipwayError, match=message) as caught:
        find_problem("mine", tmp_path)
    assert str(tmp_path / "problems.toml") in caught.value.message


def test_all_mistakes_of_a_description_are_named_at_once(tmp_path):
    (tmp_path / "problems.toml").write_text("a = 1\n[b]\nx = 1\n")
    with pytest.raises(SlipwayError, match=r"\[a\] is not a table; \[b\] 'x' is unknown"):
        find_problem("mine", tmp_path)
