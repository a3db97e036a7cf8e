"""Why a model failed to load, with the texts for clients, tables and ensembles. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slipway.config.validate_ensemble import circular_dependency, missing_models
from slipway.errors import SlipwayError, internal, invalid, shown
from slipway.problems import Problem, Rule


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """`detail` is for the log and the operator. A `polled` failure happened before the load: the model's files or
    config are wrong, and like Triton the server does not give clients the details. `problems` are the problems in
    `detail` as values, if they are known. A `versionless` model is in the repository, but has no version to serve."""

    detail: str
    polled: bool = False
    problems: tuple[Problem, ...] = ()
    versionless: bool = False

    def error(self, name: str) -> SlipwayError:
        """Return the error for the client that requested the load."""
        if self.polled:
            return internal(f"failed to load '{shown(name)}', failed to poll from model repository")
        return invalid(f"load failed for model '{shown(name)}': {self.detail}\n")


NOT_FOUND = LoadFailure("model not found in any model repository.", polled=True)
UPLOAD = LoadFailure("loading files that clients send needs --allow-model-upload", polled=True)
NOT_UNIQUE = LoadFailure("not unique across all model repositories", polled=True)


def load_error(name: str, failed: Sequence[LoadFailure]) -> SlipwayError:
    """Return the error for the client that requested the load of every model of a name, of which some failed."""
    loads = [failure.error(name) for failure in failed if not failure.polled]
    if len(loads) < 2:
        return loads[0] if loads else failed[0].error(name)
    return invalid("".join(error.message for error in loads))


def no_version(name: str) -> LoadFailure:
    """Return the failure of a model that has no version to serve."""
    text = f"at least one version must be available under the version policy of model '{name}'"
    problem = Problem(Rule.VERSION_MISSING, text, fix="create the directory 1 with the model's file in it")
    return LoadFailure(text, problems=(problem,), versionless=True)


def unfit(problems: Sequence[Problem]) -> LoadFailure:
    """Return the failure for `problems`."""
    return LoadFailure("; ".join(map(str, problems)), problems=tuple(problems))


def failed_versions(errors: Mapping[int, SlipwayError]) -> LoadFailure:
    """Return the failure of a model with versions that failed to load."""
    return LoadFailure(
        "".join(
            f"version {version} is at UNAVAILABLE state: {version_reason(error)};" for version, error in errors.items()
        ),
        problems=tuple(problem for error in errors.values() for problem in error.problems),
    )


def version_reason(error: SlipwayError) -> str:
    """Return the reason that the repository index shows for a version."""
    return f"{error.code.value}: {error.message}"


def missing_parts(name: str, missing: Iterable[str]) -> LoadFailure:
    """Return the failure of an ensemble with models that do not exist."""
    return unfit([missing_models(name, sorted(missing))])


def failed_part(name: str, part: str, failure: LoadFailure | None) -> LoadFailure:
    """Return the failure of an ensemble with a model that failed to load."""
    reason = f". Model '{part}' loading failed with error: {failure.detail}" if failure else ""
    return _dependency(f"ensemble '{name}' depends on '{part}' which has no loaded version{reason}")


def missing_part_version(name: str, part: str, version: int) -> LoadFailure:
    """Return the failure of an ensemble that requires a model version that is not loaded."""
    return _dependency(f"ensemble '{name}' depends on '{part}' whose required version {version} is not loaded")


def _dependency(text: str) -> LoadFailure:
    return unfit([Problem(Rule.STEP_MODEL_MISSING, text, ("ensemble_scheduling",), "fix that model first")])


def circular(name: str) -> LoadFailure:
    """Return the failure of an ensemble that contains itself."""
    return unfit([circular_dependency(name)])
