"""One model as the linter sees it: its directory, its text with positions, its completed configuration.

Values, and the step from a field to a finding with a place. Opens no model file; `reading.py` builds a `Model`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from slipway.config.complete import ENSEMBLE
from slipway.lint.document import Document
from slipway.lint.finding import Edit, Finding, Severity
from slipway.problems import FieldPath, Problem, Rule
from slipway.repository.scan import VersionScan
from slipway.repository.versions import VersionChoice


@dataclass(frozen=True, slots=True)
class Model:
    """`written` is the config as its author wrote it, `config` the completed and normalised one; `is_whole` says that
    it is complete, so that other models can be compared with it."""

    name: str
    directory: Path
    file: Path
    document: Document = field(default_factory=Document)
    written: model_config_pb2.ModelConfig = field(default_factory=model_config_pb2.ModelConfig)
    config: model_config_pb2.ModelConfig = field(default_factory=model_config_pb2.ModelConfig)
    versions: VersionScan = field(default_factory=lambda: VersionScan({}))
    served: VersionChoice = field(default_factory=lambda: VersionChoice(()))
    is_whole: bool = True

    @property
    def is_ensemble(self) -> bool:
        """Whether the model is composed of others."""
        return bool(self.config.platform == ENSEMBLE or self.config.HasField("ensemble_scheduling"))

    @property
    def version_directory(self) -> Path | None:
        """The directory of the newest served version, None if there is none."""
        return self.versions.paths[self.served.served[-1]] if self.served.served else None

    def finding_of(self, problem: Problem, *, severity: Severity = Severity.ERROR) -> Finding:
        """Return a problem of the config as a finding, with an edit if the problem says what to write."""
        written = self.document.lone_entry(problem.path) if problem.entry else None
        edits = (Edit(written.start, written.end, problem.entry),) if written else ()
        return self.finding(problem.rule, problem.text, problem.path, severity=severity, fix=problem.fix, edits=edits)

    def finding(
        self,
        rule: Rule,
        message: str,
        path: FieldPath = (),
        *,
        severity: Severity = Severity.ERROR,
        fix: str = "",
        edits: tuple[Edit, ...] = (),
    ) -> Finding:
        """Return a finding about the field at `path`, placed at the field or its nearest written parent."""
        line, column = self.document.place(self.document.offset(path)) if self.document.text else (0, 0)
        return Finding(severity, rule, self.name, self.file, message, line, column, fix, edits)

    def finding_of_file(
        self, rule: Rule, message: str, file: Path, *, severity: Severity = Severity.ERROR, fix: str = ""
    ) -> Finding:
        """Return a finding about a file or directory of the model."""
        return Finding(severity, rule, self.name, file, message, fix=fix)
