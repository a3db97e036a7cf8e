"""The inputs of the translation benchmark: both sides get the same ids."""

from benchmarks.translation import LINES, made_lines, vocabulary_of_words


def test_each_word_is_one_subtoken_whose_id_follows_its_number() -> None:
    lines, vocabulary = made_lines(), vocabulary_of_words()
    assert len(lines) == LINES
    for line in lines[:20]:
        assert vocabulary.encode(line) == [2 + int(word[1:]) for word in line.split()]
