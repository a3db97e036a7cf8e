"""Export other models to LightSeq files: one row per source, with the constants of LightSeq's own export scripts.

Ids and heads come from the checkpoint, while the scripts (`examples/inference/python/export/` of LightSeq) contain
those of the published models as constants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.checkpoints.lightseq.conf import GPT_METHODS, SEARCH_METHODS, LightSeqConf
from slipway.checkpoints.lightseq.schema import SCHEMAS
from slipway.checkpoints.lightseq.writer import ACTIVATION_CLIP, write_lightseq
from slipway.errors import invalid, unavailable, unsupported
from slipway.foreign_json import read_foreign
from slipway.installation import install_hint

_Number = TypeVar("_Number", int, float)
_FAIRSEQ: Final = "fairseq"
_FAIRSEQ_CLIP: Final = 45.0


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A source, the model type it is exported as, and its settings; `max_step` 0: all positions of the model."""

    name: str
    summary: str
    model_type: str
    output: str  # file name without extension; "" uses the model's own name
    method: str = "beam_search"
    beam_size: int = 1
    max_step: int = 0
    extra_decode_length: int = 0
    length_penalty: float = 0.0
    activation_clip: float = ACTIVATION_CLIP

    @property
    def methods(self) -> tuple[str, ...]:
        """The generation methods of the model type."""
        if self.model_type in ("Bert", "Vit"):
            return ()
        return GPT_METHODS if self.model_type == "Gpt" else SEARCH_METHODS


SOURCES: Final = {
    source.name: source
    for source in (
        ExportSource(
            "hf-bart",
            "Hugging Face BART",
            "Transformer",
            "lightseq_bart_base",
            beam_size=4,
            max_step=50,
            extra_decode_length=50,
            length_penalty=1.0,
        ),
        ExportSource("hf-bert", "Hugging Face BERT", "Bert", "lightseq_bert_base_uncased"),
        # The script's default is beam_search, but the engine refuses it.
        ExportSource("hf-gpt2", "Hugging Face GPT-2", "Gpt", "lightseq_gpt2_base", method="topk", max_step=50),
        ExportSource(
            "hf-t5",
            "Hugging Face T5",
            "T5",
            "lightseq_t5_base",
            max_step=80,
            extra_decode_length=50,
            length_penalty=1.0,
        ),
        ExportSource(
            "hf-mt5",
            "Hugging Face mT5, T5 v1.1, Flan-T5",
            "MT5",
            "lightseq_mt5_base",
            max_step=80,
            extra_decode_length=50,
            length_penalty=1.0,
        ),
        ExportSource("hf-vit", "Hugging Face ViT", "Vit", "lightseq_vit"),
        ExportSource(
            _FAIRSEQ,
            "fairseq's own Transformer, a .pt file",
            "Transformer",
            "",
            beam_size=4,
            max_step=300,
            extra_decode_length=50,
            length_penalty=0.6,
            activation_clip=_FAIRSEQ_CLIP,
        ),
    )
}
_FAMILIES: Final = {
    "bart": "hf-bart",
    "bert": "hf-bert",
    "gpt2": "hf-gpt2",
    "t5": "hf-t5",
    "mt5": "hf-mt5",
    "vit": "hf-vit",
}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export; None means the source's default."""

    model: Path
    source: str | None = None  # None: detected
    output: Path | None = None
    directory: Path | None = None  # where the file is written, overriding the directory of `output`
    hdf5: bool = False
    ptq: bool = False
    generation_method: str | None = None
    beam_size: int | None = None
    max_step: int | None = None
    extra_decode_length: int | None = None
    length_penalty: float | None = None
    diverse_lambda: float = 0.0
    topk: int = 1
    topp: float = 0.75
    activation_clip: float | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """The file that was written."""

    path: Path
    conf: LightSeqConf


def export(options: ExportOptions) -> Exported:
    """Write the model; return its path and settings.

    Raise UNSUPPORTED with all reasons if the format cannot represent it, INVALID_ARG for contradictory options.
    """
    source = _source(options)
    path = _output(options, source)
    checkpoint, conf = _read_fairseq(options, source) if source.name == _FAIRSEQ else _read_hf(options, source)
    if options.ptq:
        model_type = f"Quant{source.model_type}"
        if model_type not in SCHEMAS:
            raise unsupported(f"LightSeq does not have an 8-bit {source.model_type}; omit --ptq")
        conf = replace(conf, model_type=model_type)
    clip = source.activation_clip if options.activation_clip is None else options.activation_clip
    return Exported(write_lightseq(path, checkpoint, conf, activation_clip=clip), conf)


def _source(options: ExportOptions) -> ExportSource:
    """Return the row of the named source, or the one that `model` looks like."""
    if not options.model.exists():
        raise unavailable(f"model '{options.model}' does not exist")
    name = options.source or (_FAIRSEQ if options.model.is_file() else _FAMILIES.get(_family(options.model), ""))
    source = SOURCES.get(name)
    if source is None:
        raise unsupported(
            f"'{options.model}' ({_family(options.model) or 'no model_type'}) is not a known source; "
            f"name one of {', '.join(SOURCES)}"
        )
    if (name == _FAIRSEQ) != options.model.is_file():
        expected = "a .pt file" if name == _FAIRSEQ else "a directory"
        raise invalid(f"source '{name}' is {expected}, but '{options.model}' is not")
    method = options.generation_method
    if method is not None and method not in source.methods:
        known = ", ".join(source.methods) or "none, as it does not generate"
        raise unsupported(f"Unsupported sampling_method '{method}': {source.model_type} has {known}")
    return source


def _family(directory: Path) -> str:
    """Return the model_type of a Hugging Face directory, "" if it has none."""
    path = directory / "config.json"
    config = read_foreign(path) if path.exists() else {}
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def output_path(options: ExportOptions) -> Path:
    """Return the file that `export` would write; raise `SlipwayError` as it would for a source that is not known."""
    return _output(options, _source(options))


def _output(options: ExportOptions, source: ExportSource) -> Path:
    """Return the file to write."""
    path = _named(options, source)
    return path if options.directory is None else options.directory / path.name


def _named(options: ExportOptions, source: ExportSource) -> Path:
    """Return the named file: its extension, --hdf5 or the source's usual format decide the format."""
    suffix = ".pb" if source.name == _FAIRSEQ and not options.hdf5 else ".hdf5"
    path = options.output
    if path is None:
        stem = Path(source.output) if source.output else options.model.with_suffix("")
        return stem.with_name(f"{stem.name}{'_ptq' if options.ptq else ''}{suffix}")
    if path.suffix in (".pb", ".hdf5"):
        if options.hdf5 and path.suffix == ".pb":
            raise invalid(f"--hdf5 and the output '{path}' contradict each other; omit one")
        return path
    return path.with_name(f"{path.name}{suffix}")


def _read_fairseq(options: ExportOptions, source: ExportSource) -> tuple[Checkpoint, LightSeqConf]:
    try:
        from slipway.checkpoints.lightseq.fairseq import END, PADDING, read_fairseq  # torch takes seconds to import
    except ImportError:
        raise unavailable(f"fairseq checkpoints need torch: {install_hint('generate')}") from None

    checkpoint = read_fairseq(options.model, options.max_step or source.max_step)
    conf = _conf(options, source, checkpoint)
    return checkpoint, replace(conf, padding_id=PADDING, start_id=END, end_id=END)


def _read_hf(options: ExportOptions, source: ExportSource) -> tuple[Checkpoint, LightSeqConf]:
    checkpoint = read_huggingface(options.model)
    family = checkpoint.model_type
    gated_t5 = source.name == "hf-mt5" and family == "t5"
    if _FAMILIES.get(family) != source.name and not gated_t5:
        right = _FAMILIES.get(family)
        raise invalid(
            f"'{options.model}' is a '{family}', which source '{source.name}' does not read"
            + (f"; name --source {right}" if right else "")
        )
    if source.name == "hf-t5" and checkpoint.spec.encoder is not None and checkpoint.spec.encoder.gated:
        raise invalid(f"'{options.model}' has gated feed-forward blocks; name --source hf-mt5")
    conf = replace(_conf(options, source, checkpoint), padding_id=_padding(source, checkpoint))
    spec = checkpoint.spec
    if spec.decoder is None:
        return checkpoint, conf
    return checkpoint, replace(conf, start_id=spec.start_id if spec.encoder else 0, end_id=spec.end_id)


def _padding(source: ExportSource, checkpoint: HuggingFaceCheckpoint) -> int:
    """Return the padding id. GPT-2 has none; LightSeq uses the first id after its tokens."""
    if source.model_type == "Gpt" and checkpoint.spec.decoder is not None:
        return checkpoint.spec.decoder.vocabulary
    return 1 if checkpoint.padding_id is None and source.name == "hf-bart" else checkpoint.padding_id or 0


def _conf(options: ExportOptions, source: ExportSource, checkpoint: Checkpoint) -> LightSeqConf:
    stack = checkpoint.spec.input_stack
    rows = stack.position_rows or source.max_step
    asked = None if stack.vision is not None else options.max_step  # the length of images is fixed
    conf = LightSeqConf(source.model_type, asked or min(source.max_step or rows, rows))
    if not source.methods:
        return conf
    extra = _given(options.extra_decode_length, source.extra_decode_length)
    return replace(
        conf,
        sampling_method=options.generation_method or source.method,
        beam_size=_given(options.beam_size, source.beam_size),
        topk=options.topk,
        topp=options.topp,
        length_penalty=_given(options.length_penalty, source.length_penalty),
        diverse_lambda=options.diverse_lambda,
        extra_decode_length=extra or conf.max_step if source.model_type == "Gpt" else extra,  # Gpt's 0 means no limit
    )


def _given(value: _Number | None, default: _Number) -> _Number:
    return default if value is None else value
