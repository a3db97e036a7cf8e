"""BLEU: sacrebleu's numbers with the international tokens, closed forms at the edges, and files that do not fit."""

from __future__ import annotations

import random
from math import exp
from pathlib import Path

import pytest

from slipway.errors import SlipwayError
from slipway.train.bleu import BleuSums, corpus_bleu, paired_lines, tokenise

sacrebleu = pytest.importorskip("sacrebleu")

NEWSTEST = Path(__file__).parents[3] / "shared/data/newstest2014-en-de"
SENTENCES = [
    ("Der Preis stieg um 3,5 % auf 1.200 €.", "Der Preis stieg um 3,5% auf 1200 €."),
    ("„Das ist\u00a0gut“, sagte er (leise).", '"Das ist gut", sagte er leise.'),
    ("Das Haus ist gross - und alt.", "Ein Haus war gross... und sehr alt."),
    ("US-Präsident: ja/nein?", "US-Präsident : ja / nein ?"),
    ("Ein kurzer Satz.", "Ein kurzer Satz."),
    ("Er kam 2014 nach New York, N.Y.", "er kam in 2014 nach New York N.Y."),
]


def expected(pairs, *, cased):
    references, translations = ([pair[side] for pair in pairs] for side in (0, 1))
    return sacrebleu.corpus_bleu(translations, [references], tokenize="intl", lowercase=not cased).score


@pytest.mark.capability("2.13")
@pytest.mark.parametrize("cased", [True, False])
def test_score_is_that_of_sacrebleu_with_international_tokens(cased):
    assert corpus_bleu(SENTENCES, cased=cased) == pytest.approx(expected(SENTENCES, cased=cased), abs=0.05)


@pytest.mark.capability("2.13")
@pytest.mark.skipif(not NEWSTEST.is_dir(), reason="newstest2014 is not on this machine")
def test_score_of_news_sentences_is_that_of_sacrebleu():
    files = sorted(path for path in NEWSTEST.iterdir() if ".de" in path.name)
    lines = "".join(path.read_text(encoding="utf-8") for path in files).split("\n")[:400]
    source = random.Random(1)
    changed = [" ".join(word for word in line.split(" ") if source.random() > 0.15) for line in lines]
    pairs = [(a, b) for a, b in zip(lines, changed, strict=True) if a]
    assert corpus_bleu(pairs, cased=True) == pytest.approx(expected(pairs, cased=True), abs=0.05)


def test_punctuation_between_digits_stays_and_symbols_are_tokens():
    assert tokenise("3,5% (ja), a.b 1.200") == "3,5 % ( ja ) , a . b 1.200".split()


def test_equal_sentences_score_100_and_nothing_in_common_scores_by_halving():
    assert corpus_bleu([("a b c d e", "a b c d e")], cased=True) == pytest.approx(100)
    sums = BleuSums()
    sums.add("abcd", "wxyz")
    assert sums.score() == pytest.approx((1 / (2 * 4) / (4 * 3) / (8 * 2) / 16) ** 0.25)


def test_short_translation_is_penalised():
    sums = BleuSums()
    sums.add("abcdefgh", "abcd")
    assert sums.score() == pytest.approx(exp(1 - 2))


def test_nothing_translated_scores_zero():
    sums = BleuSums()
    sums.add("abc", "")
    assert sums.score() == 0.0


def test_sums_of_two_processes_add_up():
    whole, first, second = BleuSums(), BleuSums(), BleuSums()
    for part, pair in ((first, ("abcdx", "abcdy")), (second, ("efgh", "efgh"))):
        whole.add(*pair)
        part.add(*pair)
    together = [a + b for a, b in zip(first.values(), second.values(), strict=True)]
    assert BleuSums.of(together).score() == whole.score() > 0


def test_files_that_do_not_fit_are_refused(tmp_path):
    paths = {name: tmp_path / name for name in ("two", "three", "bytes", "empty")}
    paths["two"].write_text("a\nb\n")
    paths["three"].write_text("a\nb\nc")
    paths["bytes"].write_bytes(b"a\xff")
    paths["empty"].write_text("")
    assert paired_lines(paths["two"], paths["two"]) == [("a", "a"), ("b", "b")]
    for reference, translation, message in (
        ("two", "three", "has 2 lines, but"),
        ("two", "bytes", "byte 1 is not valid UTF-8"),
        ("empty", "empty", "is empty"),
        ("two", "absent", "cannot be read"),
    ):
        with pytest.raises(SlipwayError, match=message):
            paired_lines(paths[reference], paths.get(translation, tmp_path / "absent"))
