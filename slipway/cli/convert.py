"""`slipway convert`: a checkpoint directory to a model repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slipway.cli.parser import CommandParser
from slipway.convert.text_model import Conversion, convert_text_model
from slipway.core.table import render_table


def run(arguments: Sequence[str]) -> int:
    """Convert, print what was compared and what to type next; 0 on success."""
    parser = CommandParser(prog="slipway convert", description=__doc__)
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a Hugging Face or sentence-transformers directory")
    parser.add_argument(
        "--name", required=True, help="name of the ensemble; the other models are NAME-tokenizer and NAME-model"
    )
    parser.add_argument("--repository", metavar="DIR", type=Path, required=True, help="model repository to write into")
    parser.add_argument("--overwrite", action="store_true", help="replace models of these names")
    options = parser.parse_args(arguments)
    conversion = convert_text_model(
        options.source, name=options.name, repository=options.repository, overwrite=options.overwrite
    )
    print(_report(conversion, options.repository))
    return 0


def _report(conversion: Conversion, repository: Path) -> str:
    rows = [(check.name, f"{check.difference:.1e}") for check in conversion.checks]
    return "\n".join(
        [
            f"compared with transformers in FP32 ({len(rows)} checks):",
            render_table(("input", "largest difference"), rows),
            f"wrote {', '.join(conversion.models)} to {repository} in {conversion.seconds:.1f} s",
            f"input text BYTES [1], output {conversion.output}; at most {conversion.source.max_length} tokens per text",
            f"next: slipway serve {repository}",
        ]
    )
