"""One training from its options: network, batches, checkpoints, reports. Imports torch at once.

The parts do not know each other; this module puts them together, as `server.py` does for a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.export import HPARAMS, read_hparams
from slipway.checkpoints.tensor2tensor.hparam_limits import check_training
from slipway.checkpoints.tensor2tensor.hparams import HParams, to_json
from slipway.errors import invalid, not_found
from slipway.train.batches import BatchingRule
from slipway.train.corpora import make_directory
from slipway.train.evaluation import evaluate
from slipway.train.loader import BatchStream, evaluation_batches
from slipway.train.network.network import TrainingNetwork
from slipway.train.network.parameters import initial_parameters
from slipway.train.options import SCHEDULES, TrainingOptions
from slipway.train.processes import Processes
from slipway.train.reports import TrainingReporter
from slipway.train.saving import CheckpointDirectory, load_weights
from slipway.train.trainer import Trainer, TrainingPlan
from slipway.train.training_data import TrainingData
from slipway.train.translation import translation_bleu

_COMPARED: Final = tuple(each for each in fields(HParams) if each.compare)


class Training:
    """A training that is ready to run: built from its options, then `run`."""

    def __init__(
        self,
        options: TrainingOptions,
        hparams: HParams,
        corpus: TrainingData,
        processes: Processes,
        reporter: TrainingReporter,
    ) -> None:
        """Build the network; raise UNSUPPORTED for hyper-parameters that cannot be honoured."""
        check_training(hparams)
        self._options = options
        self._hparams = hparams
        self._corpus = corpus
        self._processes = processes
        self._reporter = reporter
        self._rule = BatchingRule.of(hparams, processes.share.processes)
        self._directory = CheckpointDirectory(options.output, options.keep)
        values = initial_parameters(hparams, corpus.vocabulary, options.seed)
        self.network = TrainingNetwork(hparams, corpus.vocabulary, values).to(processes.device)

    def run(self, stopped: Callable[[], bool], records: Mapping[str, str]) -> bool:
        """Train, evaluate or both, as the schedule says; return whether the last step is done.

        `records` are texts to keep in the output directory, by file name; hparams.json is one more. They are written
        once the checkpoint in the directory is known to fit. Raises what `Trainer.run` raises.
        """
        trains, evaluates, decodes = SCHEDULES[self._options.schedule]
        if not trains:
            self._evaluate_newest()
            return True
        if self._processes.first:
            make_directory(self._options.output)
        self._processes.wait()
        stream = BatchStream(self._corpus.train, self._rule, self._options.seed, self._processes.share)
        evaluating = evaluates and self._corpus.dev is not None
        plan = TrainingPlan(
            self._options.steps,
            self._options.save_every,
            self._options.seed,
            (lambda step: self._evaluate(step, decodes=decodes or step == self._options.steps)) if evaluating else None,
        )
        trainer = Trainer(self.network, stream, self._directory, plan, self._processes, self._reporter)
        self._begin(trainer)
        if self._processes.first:
            for name, text in {**records, HPARAMS: to_json(self._hparams)}.items():
                with atomic_file(self._options.output / name) as file:
                    file.write(text.encode())
        done = trainer.run(stopped)
        dropped = stream.dropped
        if dropped.too_long or dropped.too_short:
            self._reporter.note(
                f"{dropped.too_long} pairs with more than {self._rule.longest} tokens (max_length) and "
                f"{dropped.too_short} with fewer than {self._rule.shortest} (min_length) were not trained on"
            )
        return done

    def _begin(self, trainer: Trainer) -> None:
        """Continue an earlier training, or start from another model's weights, or from random ones."""
        if trainer.resume():
            self._reporter.note(f"continuing from step {trainer.progress.step} in '{self._options.output}'")
            if self._options.warm_start is not None:
                self._reporter.note("--warm_start_from is ignored: only a new training starts with other weights")
            if changes := self._changes():
                self._reporter.note(f"hyper-parameters that differ from those so far: {', '.join(changes)}")
        elif self._options.warm_start is not None:
            load_weights(self.network, self._options.warm_start)
            self._reporter.note(f"starting with the weights of '{self._options.warm_start}'")

    def _changes(self) -> list[str]:
        """Return the hyper-parameters that differ from those that the directory's hparams.json records."""
        if not (self._options.output / HPARAMS).is_file():
            return []
        before = read_hparams(self._options.output)
        values = [(each.name, getattr(self._hparams, each.name), getattr(before, each.name)) for each in _COMPARED]
        return [f"{name} {new} instead of {old}" for name, new, old in values if new != old]

    def _evaluate_newest(self) -> None:
        step = self._directory.newest() if self._options.output.is_dir() else None
        if step is None:
            raise not_found(f"'{self._options.output}' does not have a checkpoint to evaluate")
        if self._corpus.dev is None:
            raise invalid(f"problem '{self._corpus.problem}' does not have a dev split to evaluate on")
        load_weights(self.network, self._options.output)
        self._evaluate(step, decodes=True)

    def _evaluate(self, step: int, *, decodes: bool) -> None:
        dev = self._corpus.dev
        if dev is None:
            return
        share = self._processes.share
        figures = evaluate(
            self.network,
            lambda: evaluation_batches(dev, self._rule, share),
            self._options.eval_batches,
            self._processes,
        )
        if decodes:
            figures |= translation_bleu(self._checkpoint(step), self._hparams, self._corpus, share)
            self._processes.wait()
        if self._processes.first and figures:
            self._reporter.evaluated(step, figures)

    def _checkpoint(self, step: int) -> Path:
        return self._options.output / f"model.ckpt-{step}"
