"""Log what is legal but slow in a config when its model is loaded.

Looks only at the config; the load itself reports errors. Does not open the model file a second time.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.lint.finding import Severity
from slipway.lint.layout import label_findings
from slipway.lint.model import Model
from slipway.lint.settings import LOAD_CHECKS
from slipway.machine import Machine
from slipway.repository.scan import CONFIG_FILE

_LOG: Final = logging.getLogger("slipway.lint")
_LEVELS = {Severity.WARNING: logging.WARNING, Severity.HINT: logging.INFO}


def log_findings(config: model_config_pb2.ModelConfig, directory: Path) -> None:
    """Log the warnings and hints about a completed, normalised and validated config; not for ensembles."""
    model = Model(config.name, directory, directory / CONFIG_FILE, written=config, config=config)
    machine = Machine.here()
    findings = [finding for check in LOAD_CHECKS for finding in check(model, machine)]
    for finding in (*findings, *label_findings(model)):
        level = _LEVELS.get(finding.severity)
        if level is not None:
            _LOG.log(level, "model '%s': %s; %s [%s]", model.name, finding.message, finding.fix, finding.rule)
