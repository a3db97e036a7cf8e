"""From weights to a loaded model: converted once into the cache, then opened with the fastest number of threads.

Knows nothing about rows or exactness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.cores import cpu_limit
from slipway.transformer.conversion_cache import ConversionCache, digest
from slipway.transformer.ctranslate2.loaded_model import VERSION, CTranslate2Model
from slipway.transformer.spec import Transformer
from slipway.transformer.temporary_thread import run_in_temporary_thread
from slipway.transformer.trial import SMALL, fastest, remember, remembered, trial_row
from slipway.transformer.weights import Weights

STORED_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # per parameter, approximately


@dataclass(frozen=True, slots=True)
class LoadedEntry:
    """A model that was loaded from the cache entry `path` with `threads` threads."""

    path: Path
    threads: int
    model: CTranslate2Model


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """The model to load, and how it will compute."""

    spec: Transformer
    weights: Weights
    device: str
    compute_type: str
    workers: int

    def load(self, cache: ConversionCache, threads: int) -> LoadedEntry:
        """Return the model, converted if `cache` lacks it; `threads` 0: the number that a measurement finds fastest."""
        path = self._converted(cache)
        try:
            return self._loaded(path, threads)
        except RuntimeError:  # the entry is damaged, or another process removed it: convert the weights again
            cache.discard(path)
            return self._loaded(self._converted(cache), threads)

    def _converted(self, cache: ConversionCache) -> Path:
        def write(directory: Path) -> None:
            from slipway.transformer.ctranslate2.model_writer import write_model

            write_model(self.spec, self.weights, directory, storage=self.compute_type)

        name = digest(self.spec, self.weights, self.compute_type, VERSION)
        return cache.entry(name, write, needed_bytes=self.weights.elements * STORED_BYTES[self.compute_type])

    def _loaded(self, path: Path, threads: int) -> LoadedEntry:
        if not threads and (self.device != "cpu" or self.weights.elements < SMALL):
            threads = 1
        if threads:
            return LoadedEntry(path, threads, self._open(path, threads))
        question = f"threads for {self.workers} workers"
        choices = thread_choices(cpu_limit(), self.workers)
        known = remembered(path, question)
        if known in map(str, choices):
            return LoadedEntry(path, int(known), self._open(path, int(known)))
        ids = trial_row(self.spec).ids
        threads, model = fastest(
            choices,
            lambda count: self._open(path, count),
            lambda model, batch: model.trial(ids, batch),
            CTranslate2Model.close,
        )
        remember(path, question, str(threads))
        return LoadedEntry(path, threads, model)

    def _open(self, path: Path, threads: int) -> CTranslate2Model:
        return run_in_temporary_thread(
            lambda: CTranslate2Model.load(
                self.spec,
                path,
                device=self.device,
                compute_type=self.compute_type,
                threads=threads,
                workers=self.workers,
            )
        )


def thread_choices(cores: int, workers: int) -> list[int]:
    """Return the numbers of threads worth trying when `workers` calls may run at once."""
    most = max(1, cores // workers)
    return sorted({1, max(1, most // 2), most})
