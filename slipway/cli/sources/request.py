"""Everything besides the source's content that decides what a conversion writes: options, versions, machine."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from slipway import __version__
from slipway.cli.sources.kinds import Source, SourceKind
from slipway.config.conversion_flags import ConversionFlags
from slipway.installation import conversion_versions
from slipway.machine import describe_machine, gpu_count, processor_features

_DIGITS: Final = 16  # of a digest in a directory's name: nobody makes two with the same ones by accident


class ConversionRequest(msgspec.Struct, frozen=True):
    """The options of a conversion, and what its result depends on besides the content of the source.

    `hub` is the id of a model on a hub, "" for a local source, whose path does not matter. `machine` is a digest of the
    processor with its features, the number of cores and GPUs, system and Python version.
    """

    name: str
    engine: str
    precision: str
    accuracy: str
    task: str
    inputs: tuple[str, ...]
    hub: str
    version: str
    libraries: dict[str, str]
    machine: str

    @classmethod
    def of(cls, source: Source, flags: ConversionFlags) -> ConversionRequest:
        """Return the request for a source on this machine."""
        return cls(
            name=source.name,
            engine=flags.engine,
            precision=flags.precision,
            accuracy=flags.accuracy,
            task=flags.task,
            inputs=flags.input,
            hub=source.text if source.kind is SourceKind.HUB else "",
            version=__version__,
            libraries=conversion_versions(),
            machine=_machine(),
        )

    def entry_name(self, content: str) -> str:
        """Return the name of the directory with the result for a source of this content."""
        digest = hashlib.sha256(msgspec.json.encode(self, order="sorted") + content.encode()).hexdigest()
        return f"{self.name[:64]}-{digest[:_DIGITS]}"

    def words(self, source: str, repository: str) -> tuple[str, ...]:
        """Return the command line of `slipway convert` for it."""
        options = ["--engine", self.engine, "--precision", self.precision, "--accuracy", self.accuracy]
        options += ["--task", self.task] if self.task else []
        options += [word for each in self.inputs for word in ("--input", each)]
        return (source, "--name", self.name, "--repository", repository, *options)


def _machine() -> str:
    text = "\n".join([describe_machine(), str(gpu_count()), *processor_features()])
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
