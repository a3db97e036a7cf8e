"""Where tensor2tensor's public files are kept beside the project, for the tests that compare with them."""

from pathlib import Path

import pytest

PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "tensor2tensor"
NEWSTEST = PUBLIC.parent / "newstest2014-en-de"
VOCABULARY_32K = PUBLIC / "vocab.translate_ende_wmt32k.32768.subwords"
VOCABULARY_8K = PUBLIC / "vocab.translate_ende_wmt8k.8192.subwords"
CHECKPOINT = PUBLIC / "transformer_test_ckpt"

needs_public_files = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason="tensor2tensor's public vocabularies and checkpoint are not beside the project"
)
