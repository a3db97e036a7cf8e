"""Write the models of a reader of images around its encoder.

NAME-processor    image or encoded_image -> pixel_values (not for documents: pages enter the encoder as they are)
NAME-encoder      pixel_values or image -> encoder_states: the vision encoder, a graph
NAME-model        encoder_states -> ids: the decoder on Slipway's engine
NAME-detokenizer  ids -> text
NAME              image -> text: the ensemble of these; the optional inputs of generation go to NAME-model
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.checkpoints.huggingface.safetensors_file import write_safetensors
from slipway.checkpoints.huggingface.weight_files import open_weight_files
from slipway.convert.configs import (
    VERSION,
    ensemble_step,
    model_input,
    model_name,
    model_output,
    python_config,
    write_ensemble,
    write_python_model,
)
from slipway.convert.generation.package import (
    ARGUMENT_INPUTS,
    CLEAN_UP,
    GENERATED,
    WORDS,
    TextSide,
    add_optional,
    copy_settings,
    engine_parameters,
    share_executions,
)
from slipway.convert.reading.encoder import IMAGE, PIXELS
from slipway.convert.reading.encoder_flow import encoder_name
from slipway.convert.reading.source import ReadingSource
from slipway.convert.variants import Variant
from slipway.convert.vision.processor_model import ENCODED_IMAGE, write_processor
from slipway.convert.vision.processor_model import IMAGE as ANY_IMAGE
from slipway.core.signature import TensorSpec
from slipway.runtime.checkpoint_model import TOKENIZER

_OMITTED: Final = "OMITTED"
_TEXT: Final = TensorSpec("text", "BYTES", (1,))
_IDS: Final = GENERATED[:2]  # ids and lengths
_DECODER: Final = "decoder."


def reader_names(source: ReadingSource, name: str) -> tuple[str, ...]:
    """Return the names of all models, in the order in which they must be moved into the repository."""
    names = all_names(name)
    return names[1:] if source.reads_documents else names


def all_names(name: str) -> tuple[str, ...]:
    """Return all names that a reader may use."""
    return f"{name}-processor", encoder_name(name), model_name(name), f"{name}-detokenizer", name


class ReaderPackage:
    """Writes the models of one reader; `states` is what its encoder returns, `omitted` are the ids that are never text,
    () to leave out all special tokens."""

    def __init__(
        self, name: str, source: ReadingSource, text: TextSide, states: TensorSpec, *, rows: int, omitted: Sequence[int]
    ) -> None:
        self._name = name
        self._source = source
        self._text = text
        self._states = states
        self._rows = rows
        self._omitted = omitted

    def write_decoder(self, directory: Path, variant: Variant) -> None:
        """Write NAME-model into `directory`, which must not exist: the decoder's part of the checkpoint, the tokenizer
        (for stop texts), its config and model.py."""
        parameters = engine_parameters(self._source.text, variant)
        config = python_config(model_name(self._name), (self._states,), GENERATED, self._rows, parameters)
        add_optional(config, ARGUMENT_INPUTS)
        share_executions(config)
        write_python_model(directory, config, "generate")
        version = directory / VERSION
        copy_settings(self._source.directory, version)
        stored = open_weight_files(self._source.directory)
        own = {name: array for name, array in stored.items() if name.startswith(_DECODER)}
        write_safetensors(version / "model.safetensors", own)
        self._text.tokenizer.save(str(version / TOKENIZER))

    def write_around(self, directory: Path) -> None:
        """Write every model except encoder and decoder into `directory`."""
        parameters = dict(CLEAN_UP) if self._text.cleaned else {}
        if self._omitted:
            parameters[_OMITTED] = " ".join(map(str, self._omitted))
        wording = python_config(f"{self._name}-detokenizer", _IDS, (WORDS,), self._rows, parameters)
        write_python_model(directory / wording.name, wording, "detokenizer")
        self._text.tokenizer.save(str(directory / wording.name / VERSION / TOKENIZER))
        if not self._source.reads_documents:
            write_processor(directory / f"{self._name}-processor", self._source.images, self._rows)
        write_ensemble(directory / self._name, self._ensemble())

    def _ensemble(self) -> pb.ModelConfig:
        documents = self._source.reads_documents
        arguments = [] if documents else [spec.name for spec in ARGUMENT_INPUTS]
        generated = [spec.name for spec in (_IDS if documents else GENERATED)]
        wording = ensemble_step(f"{self._name}-detokenizer", ["output_ids", "sequence_length"], [WORDS.name])
        steps = [
            ensemble_step(encoder_name(self._name), [IMAGE if documents else PIXELS], [self._states.name]),
            ensemble_step(model_name(self._name), [self._states.name, *arguments], generated),
            wording,
        ]
        page = TensorSpec(IMAGE, "UINT8", (self._source.height, self._source.width, 3))
        outputs: Sequence[TensorSpec] = (WORDS, *GENERATED[1:])
        if documents:
            wording.output_map[WORDS.name] = _TEXT.name
            outputs = (_TEXT,)
        else:
            images = [ANY_IMAGE.name, ENCODED_IMAGE.name]
            steps.insert(0, ensemble_step(f"{self._name}-processor", images, [PIXELS]))
        config = pb.ModelConfig(
            name=self._name,
            platform="ensemble",
            max_batch_size=self._rows,
            input=[model_input(page)] if documents else [],
            output=[model_output(spec) for spec in outputs],
            ensemble_scheduling=pb.ModelEnsembling(step=steps),
        )
        if not documents:
            add_optional(config, (ANY_IMAGE, ENCODED_IMAGE, *ARGUMENT_INPUTS))
        return config
