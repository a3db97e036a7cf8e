"""`slipway build-eclair`: a checkpoint that reads pages becomes the model `eclair` of a repository.

The four settings are flags or environment variables, so that a one-shot service of a compose file can run the command
with its `.env`. Everything else is `slipway convert`.
"""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from slipway.cli import convert
from slipway.cli.convert_flags import MOST_ROWS
from slipway.cli.parser import CommandParser
from slipway.config.parse import parse_config
from slipway.convert.arrays import MAX_BATCH_SIZE
from slipway.convert.configs import model_name
from slipway.convert.directory import Task, read_json_object
from slipway.convert.report import source_hash
from slipway.errors import invalid, shown

NAME: Final = "eclair"
_PREFIX: Final = "ECLAIR_"
_SIMILAR: Final = 0.8  # of two names, as `difflib` counts: below it, a variable is for another program
_DIGITS: Final = 9  # of a number; Python refuses to read one of thousands
_DECIDED: Final = ("--name", "--repository", "--task", "--max-batch-size")
_DESCRIPTION: Final = (
    f"Build the model '{NAME}' (image UINT8 [1280,1024,3] to text) from a checkpoint that reads pages. Each setting is "
    "an option or an environment variable; options take precedence. Other options are those of 'slipway convert'."
)


@dataclass(frozen=True, slots=True)
class EclairSetting:
    """One setting: its option and its environment variable; `default` is "" if it must be given."""

    option: str
    variable: str
    metavar: str
    text: str
    default: str = ""

    @property
    def name(self) -> str:
        """The attribute of the parsed option."""
        return self.option.removeprefix("--").replace("-", "_")


SETTINGS: Final = (
    EclairSetting("--checkpoint-dir", "ECLAIR_CHECKPOINT_DIR", "DIR", "directory that contains checkpoints"),
    EclairSetting("--checkpoint-name", "ECLAIR_CHECKPOINT_NAME", "NAME", "directory of the checkpoint, inside it"),
    EclairSetting("--model-dir", "ECLAIR_MODEL_DIR", "DIR", "model repository to write to"),
    EclairSetting("--batch-size", "ECLAIR_BATCH_SIZE", "N", "maximum pages in a request", default=str(MAX_BATCH_SIZE)),
)


@dataclass(frozen=True, slots=True)
class EclairBuild:
    """What to build: a checkpoint, the repository for it, and the maximum number of pages in a request."""

    checkpoint: Path
    repository: Path
    batch_size: int


def run(arguments: Sequence[str]) -> int:
    """Build the model, unless it was built from the same checkpoint before; return 0 on success."""
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    decided = [word for word in others if word.split("=")[0] in _DECIDED]
    if decided:
        parser.error(f"{decided[0].split('=')[0]} is set by this command")
    build = read_build(options, os.environ)
    if "--overwrite" not in others and _is_built(build, others):
        print(f"'{build.repository / NAME}' was built from the same checkpoint; --overwrite builds it again")
        return 0
    words = [str(build.checkpoint), "--name", NAME, "--repository", str(build.repository)]
    words += ["--task", Task.DOCUMENT_READING.value, "--max-batch-size", str(build.batch_size)]
    return convert.run([*words, *others])


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway build-eclair", description=_DESCRIPTION, allow_abbrev=False)
    for setting in SETTINGS:
        default = f"; default: {setting.default}" if setting.default else ""
        parser.add_argument(
            setting.option, metavar=setting.metavar, help=f"{setting.text} ({setting.variable}{default})"
        )
    return parser


def read_build(options: Namespace, environment: Mapping[str, str]) -> EclairBuild:
    """Return the settings of options and environment; raise INVALID_ARG naming every one that is missing or wrong."""
    problems = list(_misspelt(environment))
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        option = getattr(options, setting.name)
        values[setting.name] = option or environment.get(setting.variable, "") or setting.default
        origins[setting.name] = setting.option if option else setting.variable
        if not values[setting.name]:
            problems.append(f"{setting.variable} is not set: set it, or {setting.option}")
    name, origin = values["checkpoint_name"], origins["checkpoint_name"]
    folder = Path(values["checkpoint_dir"])
    checkpoint = folder / name
    if values["checkpoint_dir"] and not folder.is_dir():
        problems.append(f"{origins['checkpoint_dir']} is '{folder}', which is not a directory")
    elif name and (Path(name).is_absolute() or ".." in Path(name).parts):
        problems.append(f"{origin} is '{shown(name)}', which is not a directory inside '{folder}'")
    elif values["checkpoint_dir"] and name and not checkpoint.is_dir():
        there = get_close_matches(name, [each.name for each in folder.iterdir() if each.is_dir()], n=1)
        hint = f": did you mean '{there[0]}'?" if there else ""
        problems.append(f"{origin} is '{shown(name)}', but '{checkpoint}' is not a directory{hint}")
    if values["model_dir"] and Path(values["model_dir"]).is_file():
        problems.append(f"{origins['model_dir']} is '{values['model_dir']}', which is a file")
    size = values["batch_size"]
    if not (size.isascii() and size.isdecimal() and len(size) <= _DIGITS and 1 <= int(size) <= MOST_ROWS):
        problems.append(f"{origins['batch_size']} is '{shown(size)}', expected a number from 1 to {MOST_ROWS}")
    if problems:
        raise invalid("; ".join(problems))
    return EclairBuild(checkpoint, Path(values["model_dir"]), int(size))


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    """Return a problem for each variable that is almost one of the settings; others are for other programs."""
    known = [setting.variable for setting in SETTINGS]
    problems = []
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=_SIMILAR)
            problems += [f"{shown(name)} is not a setting: did you mean {near[0]}?"] if near else []
    return problems


def _is_built(build: EclairBuild, others: Sequence[str]) -> bool:
    """Return whether the model exists with these settings; raise INVALID_ARG if it was built with other ones, or not
    with the options `others`."""
    config, report = (build.repository / name for name in (f"{NAME}/config.pbtxt", f"{model_name(NAME)}/report.json"))
    if not (config.is_file() and report.is_file()):
        return False
    rows = parse_config(config.read_text(), f"{NAME}/config.pbtxt").max_batch_size
    written = read_json_object(report)
    same = written.get("source_sha256") == source_hash(build.checkpoint)
    if not same or rows != build.batch_size:
        other = f"for up to {rows} pages in a request" if same else "from another checkpoint"
        raise invalid(f"'{build.repository / NAME}' was built {other}; --overwrite replaces it")
    if shlex.join(others) not in str(written.get("reproduce", "")):
        raise invalid(
            f"'{build.repository / NAME}' was not built with {shlex.join(others)}; --overwrite builds it again"
        )
    return True
