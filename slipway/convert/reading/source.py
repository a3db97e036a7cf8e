"""A checkpoint that reads images, as the conversion sees it: a vision encoder, and a decoder that generates text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.checkpoints.huggingface.image_reader import MODEL_TYPE
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings, read_settings
from slipway.convert.directory import Task, choose_task
from slipway.convert.generation.generation_settings import Wishes
from slipway.convert.generation.source import GenerationSource
from slipway.convert.generation.tokenizer_settings import tokenizer_notes
from slipway.convert.vision.image_settings import ImageSettings
from slipway.convert.vision.processor import read_image_settings
from slipway.documents.canvas import HEIGHT, WIDTH
from slipway.errors import invalid, shown, unsupported
from slipway.runtime.arguments import OF_SOURCE_TEXT
from slipway.transformer.spec import Positions

TASKS: Final = (Task.IMAGE_TO_TEXT, Task.DOCUMENT_READING)
ENCODERS: Final = ("deit", "donut-swin", "swin", "vit")
_ANY_SIZE: Final = ("donut-swin", "swin")  # windows, without a table of positions
_UNBOUNDED: Final = 1 << 20
_LONGEST_PAGE: Final = 4096  # tokens, if neither positions nor the checkpoint set a limit
_LARGEST_SIDE: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class ReadingSource:
    """`text` is the decoder as a text generator, `images` the checkpoint's image processor; the encoder's images have
    the size `height` x `width`."""

    text: GenerationSource
    images: ImageSettings
    height: int
    width: int

    @property
    def directory(self) -> Path:
        """The checkpoint's directory."""
        return self.text.directory

    @property
    def reads_documents(self) -> bool:
        """Whether requests contain whole pages on a canvas instead of images of any size."""
        return self.text.task is Task.DOCUMENT_READING


def reads_images(directory: Path) -> bool:
    """Return whether the directory's config.json describes a model that this package converts."""
    return (directory / "config.json").is_file() and read_settings(directory).model_type == MODEL_TYPE


def read_reading_source(directory: Path, task: Task | None) -> ReadingSource:
    """Return the source in `directory`; raise `SlipwayError` naming the file and the reason if it is unusable."""
    settings = read_settings(directory)
    chosen = choose_task(task, TASKS, settings.architecture)
    checkpoint = read_huggingface(directory)
    page = chosen is Task.DOCUMENT_READING
    images = read_image_settings(directory)
    height, width = (HEIGHT, WIDTH) if page else _processed_size(directory, images)
    notes = [*images.notes, *_size_notes(settings, _encoder(settings), height, width)]
    if page and images.steps:
        names = ", ".join(step.name for step in images.steps)
        notes.append(f"the steps {names} of {images.kind} are not used: the canvas of a page takes their place")
    decoder = checkpoint.spec.output_stack
    rows = decoder.position_rows if decoder.positions is Positions.TABLE else _UNBOUNDED
    wishes = Wishes.of(settings.of_decoder)
    defaults = wishes.defaults(continues=False, rows=rows)
    if page and not _has_length(wishes):  # it needs more than a sentence
        defaults["max_output_len"] = str(min(rows, _LONGEST_PAGE))
    notes += [*_wish_notes(wishes, page=page), *tokenizer_notes(directory)]
    kept = {name: value for name, value in defaults.items() if name not in OF_SOURCE_TEXT}
    text = GenerationSource(directory, checkpoint, chosen, _UNBOUNDED, kept, tuple(notes))
    return ReadingSource(text, images, height, width)


def _processed_size(directory: Path, images: ImageSettings) -> tuple[int, int]:
    """Return height and width of every image after the processor."""
    if images.height is None or images.width is None:
        raise unsupported(
            f"'{directory}': {images.kind} makes images of different sizes, but the encoder's graph needs one size"
        )
    return images.height, images.width


def _encoder(settings: HuggingFaceSettings) -> Mapping[str, Any]:
    """Return the encoder's settings; raise UNSUPPORTED naming the known encoders for another one."""
    encoder = settings.config.get("encoder")
    kind = encoder.get("model_type") if isinstance(encoder, dict) else None
    if not isinstance(encoder, dict) or kind not in ENCODERS:
        raise unsupported(
            f"{settings.path}: an encoder of type {shown(repr(kind))} is not supported; supported encoders of images: "
            f"{', '.join(ENCODERS)}"
        )
    return encoder


def _image_size(settings: HuggingFaceSettings, encoder: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of the encoder's images."""
    value = encoder.get("image_size")
    sides: list[Any] = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= _LARGEST_SIDE for side in sides):
        raise invalid(
            f"{settings.path}: the encoder's 'image_size' is {shown(repr(value))}, expected a number of pixels, or "
            "height and width"
        )
    return sides[0], sides[1]


def _size_notes(settings: HuggingFaceSettings, encoder: Mapping[str, Any], height: int, width: int) -> Iterator[str]:
    """Yield a note if the encoder was made for another size than its images will have; raise UNSUPPORTED if it has
    positions for its own size alone."""
    own = _image_size(settings, encoder)
    if own == (height, width):
        return
    made = f"images of {own[0]} x {own[1]} pixels (height x width)"
    if encoder["model_type"] not in _ANY_SIZE or encoder.get("use_absolute_embeddings"):
        raise unsupported(f"{settings.path}: the encoder reads {made}, but its input has {height} x {width}")
    yield f"the checkpoint was made for {made}; here its images have {height} x {width}"


def _has_length(wishes: Wishes) -> bool:
    return any(wishes.values.get(key) is not None for key in ("max_length", "max_new_tokens"))


def _wish_notes(wishes: Wishes, *, page: bool) -> Iterator[str]:
    for note in wishes.notes(continues=False):
        if not (page and note.startswith(f"{wishes.file} does not set a length")):
            yield note
    for name in OF_SOURCE_TEXT:
        if wishes.values.get(name) not in (None, OF_SOURCE_TEXT[name]):
            yield f"{wishes.file} sets {name}, which needs a source text and is ignored: the source is an image"
