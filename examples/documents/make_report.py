"""Write the report that the example reads: `make_report.py report.pdf`, and what is on its pages as report.json."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from layouts import report_pages


def main() -> None:
    """Write both files."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    pages = report_pages(path)
    known = [[asdict(each) for each in page] for page in pages]
    path.with_suffix(".json").write_text(json.dumps(known, indent=1), encoding="utf-8")
    print(f"{path}: {len(pages)} pages, {sum(map(len, pages))} elements")


if __name__ == "__main__":
    main()
