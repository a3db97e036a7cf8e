"""Write the models around a page-element detector NAME.

NAME-letterbox  image or encoded_image -> input, page_size: python, on `slipway.documents`
NAME-elements   output, page_size -> an output per label: python
NAME-pages      image or encoded_image -> an output per label: the ensemble of these and NAME
"""

from __future__ import annotations

from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.configs import (
    ensemble_step,
    model_input,
    model_output,
    python_config,
    write_ensemble,
    write_python_model,
)
from slipway.convert.page_elements.contract import INPUT, OUTPUT, PAGE_SIZE, PageDetector
from slipway.core.signature import TensorSpec
from slipway.documents.letterbox import MOST_PAGES

IMAGE, ENCODED = "image", "encoded_image"
_ROW = 5  # x1, y1, x2, y2, score
_SAMPLE = (1100, 850, 3)  # a letter page at 100 dpi
# Clients' files meet decoders in C, so the model leaves the server's process.
_OWN_PROCESS = {"EXECUTION_MODE": "process"}


def page_model_names(name: str) -> tuple[str, ...]:
    """Return the names of all models, in the order in which they must be moved into the repository."""
    return f"{name}-letterbox", name, f"{name}-elements", f"{name}-pages"


def write_page_models(directory: Path, name: str, detector: PageDetector) -> None:
    """Write every model except the detector itself into `directory`."""
    letterbox, _, elements, pages = page_model_names(name)
    most = MOST_PAGES if detector.batched else 0
    images = (
        TensorSpec(IMAGE, "UINT8", detector.dims(-1, -1, -1), optional=True),
        TensorSpec(ENCODED, "BYTES", detector.dims(1), optional=True),
    )
    size = TensorSpec(PAGE_SIZE, "INT64", detector.dims(2))
    pixels, rows = TensorSpec(INPUT, "FP32", detector.input), TensorSpec(OUTPUT, "FP32", detector.output)
    found = [TensorSpec(label, "FP32", detector.dims(-1, _ROW)) for label in detector.labels]
    before = python_config(letterbox, images, (pixels, size), most, _OWN_PROCESS)
    before.model_warmup.append(_sample_request(detector))
    write_python_model(directory / letterbox, before, "page_letterbox")
    grid = {} if detector.decoded else {"GRID": "undecoded"}
    after = python_config(elements, (rows, size), found, most, grid)
    write_python_model(directory / elements, after, "page_elements")
    ensemble = pb.ModelConfig(
        name=pages,
        platform="ensemble",
        max_batch_size=most,
        input=[model_input(spec) for spec in images],
        output=[model_output(spec) for spec in found],
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                ensemble_step(letterbox, [IMAGE, ENCODED], [INPUT, PAGE_SIZE]),
                _detector_step(name, detector),
                ensemble_step(elements, [OUTPUT, PAGE_SIZE], detector.labels),
            ]
        ),
    )
    write_ensemble(directory / pages, ensemble)


def _detector_step(name: str, detector: PageDetector) -> pb.ModelEnsembling.Step:
    return pb.ModelEnsembling.Step(
        model_name=name,
        model_version=-1,
        input_map={detector.takes: INPUT},
        output_map={detector.returns: OUTPUT},
    )


def _sample_request(detector: PageDetector) -> pb.ModelWarmup:
    """Return a request with one random page: without it, a tool that makes requests from a config alone, such as
    `slipway verify`, would leave out both optional inputs."""
    pixels = pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=detector.dims(*_SAMPLE), random_data=True)
    return pb.ModelWarmup(name="one page", batch_size=int(detector.batched), inputs={IMAGE: pixels})
