"""`t2t-bleu`: both variants by default, one by request, and files that do not fit."""

from __future__ import annotations

import pytest

from slipway.cli.main import main


@pytest.fixture
def files(tmp_path):
    reference, translation = tmp_path / "reference", tmp_path / "translation"
    reference.write_text("The quick brown fox jumps over the dog .\nA second line of text here\n")
    translation.write_text("the quick brown fox jumps over the dog .\nA second line of text here\n")
    return [f"--reference={reference}", f"--translation={translation}"]


@pytest.mark.capability("2.13")
def test_both_variants_are_printed(files, capsys):
    assert main(["t2t-bleu", *files]) == 0
    uncased, cased = capsys.readouterr().out.splitlines()
    assert uncased == "BLEU_uncased = 100.00"
    assert cased.startswith("BLEU_cased =  9")


@pytest.mark.capability("2.13")
@pytest.mark.parametrize("variant", ["cased", "uncased"])
def test_one_variant_is_printed_on_request(variant, files, capsys):
    assert main(["t2t-bleu", *files, f"--bleu_variant={variant}"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"BLEU_{variant} = ")


@pytest.mark.capability("2.13")
def test_files_with_other_numbers_of_lines_are_refused(files, tmp_path, capsys):
    (tmp_path / "translation").write_text("one line\n")
    assert main(["t2t-bleu", *files]) == 1
    assert "has 2 lines, but" in capsys.readouterr().err
