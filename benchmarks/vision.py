"""An image file to its label: ViT-base served by Slipway, and `transformers` in FP32 in this process, on one machine.

The network has random weights (86 million parameters, 224 x 224 pixels) and the conversion chooses freely among what
passes its gate. Both sides decode the same JPEG files, prepare them, and run the network; sides alternate, and the
better turn of each counts. The client encodes its requests before the clock starts.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.bytes_requests import encode_request, send_all
from benchmarks.conversion import chosen_candidate, convert_apart
from benchmarks.report import Row
from benchmarks.serving import running_server

TURNS: Final = 3
FILES: Final = 32
_LABELS: Final = 1000
_CONCURRENCY: Final = 4


def vision(turns: int = TURNS, files: int = FILES, flags: Sequence[str] = (), **sizes: int) -> list[Row]:
    """Measure images per second, one at a time and several at once; `flags` are of `slipway convert`, `sizes` values of
    ViT's config.json."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        source = write_vit(root / "vit", **sizes)
        convert_apart(source, "vit", root / "models", *flags)
        pictures = jpeg_files(files)
        plain = _transformers(source)
        requests = [encode_request("vit", "encoded_image", picture, ["label"]) for picture in pictures]
        rates: dict[str, list[float]] = {"transformers": [], "alone": [], "together": []}
        with running_server(root / "models") as server:
            for _ in range(turns):
                rates["transformers"].append(_rate(plain, pictures))
                for name, concurrency in (("alone", 1), ("together", _CONCURRENCY)):
                    seconds = asyncio.run(send_all(server.ports.grpc, requests, concurrency, warm=2 * concurrency))
                    rates[name].append(len(requests) / seconds)
        best = {name: max(measured) for name, measured in rates.items()}
        engine = chosen_candidate(root / "models" / "vit-model")
    return [
        Row(f"ViT-base, JPEG to label: {engine} over transformers", best["alone"], "/s", best["transformers"], 2.0),
        Row(f"the same, {_CONCURRENCY} requests at a time", best["together"], "/s", best["transformers"], 2.0),
    ]


def write_vit(directory: Path, **sizes: int) -> Path:
    """Write a random ViT classifier, of ViT-base's sizes unless they are given, with its image processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    network = ViTForImageClassification(ViTConfig(num_labels=_LABELS, **sizes))
    network.save_pretrained(directory)
    side = network.config.image_size
    settings = f'{{"image_processor_type": "ViTImageProcessor", "size": {{"height": {side}, "width": {side}}}}}'
    (directory / "preprocessor_config.json").write_text(settings)
    return directory


def jpeg_files(count: int) -> list[bytes]:
    """Return photographs of 640 x 480 pixels: coarse noise that is made smooth, with a dark shape."""
    from PIL import Image, ImageDraw

    made = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        left, top = (int(each) for each in random.integers(0, 300, 2))
        ImageDraw.Draw(image).ellipse((left, top, left + 200, top + 120), fill=(20, 30, 40))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def _transformers(source: Path) -> Any:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    network = AutoModelForImageClassification.from_pretrained(source).eval()
    processor = AutoImageProcessor.from_pretrained(source, backend="pil")

    def label(file: bytes) -> int:
        with torch.inference_mode():
            image = Image.open(io.BytesIO(file)).convert("RGB")
            return int(network(**processor(image, return_tensors="pt")).logits.argmax())

    return label


def _rate(label: Any, pictures: Sequence[bytes]) -> float:
    label(pictures[0])
    started = time.perf_counter()
    for picture in pictures:
        label(picture)
    return len(pictures) / (time.perf_counter() - started)
