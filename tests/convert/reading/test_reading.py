"""`slipway convert` on tiny checkpoints that read images, and the ones that it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions
from slipway.convert.reading.pictures import made_pages
from slipway.convert.reading.source import read_reading_source
from slipway.convert.runner import open_model
from slipway.convert.variants import Variant
from slipway.errors import SlipwayError
from tests.kits.image_readers import ENCODERS, write_reader

PLAIN = {"engine": "onnxruntime", "precision": "fp32"}
NAMES = ["m", "m-detokenizer", "m-encoder", "m-model", "m-processor"]
IMAGES = np.random.default_rng(9).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)


def config_of(directory: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((directory / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def expected_ids(checkpoint: Path, pixels: np.ndarray, **settings: object) -> list[list[int]]:
    model = hf.VisionEncoderDecoderModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        made = model.generate(torch.from_numpy(pixels), **settings)
    rows = [row[1:].tolist() for row in made]
    return [row[: row.index(2) + 1] if 2 in row else row for row in rows]


def refusal(source: Path, options: ConvertOptions) -> str:
    with pytest.raises(SlipwayError) as caught:
        convert(source, options)
    assert not options.repository.exists() or not any(options.repository.iterdir())
    return caught.value.message


def run_models(repository: Path, name: str, inputs: dict[str, np.ndarray], **arguments: np.ndarray) -> np.ndarray:
    """Run encoder, decoder and detokenizer one after another and return the texts."""
    with open_model(repository / f"{name}-encoder") as encoder:
        states = encoder.run(inputs)
    with open_model(repository / f"{name}-model") as decoder:
        found = decoder.run(states | arguments)
    with open_model(repository / f"{name}-detokenizer") as words:
        kept = {key: found[key] for key in ("output_ids", "sequence_length")}
        return words.run(kept)["generated_text"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def converted(reader: Path, tmp_path_factory: pytest.TempPathFactory):
    repository = tmp_path_factory.mktemp("models")
    return repository, convert(reader, ConvertOptions("m", repository, **PLAIN))


def test_the_models_of_a_reader_are_written_with_two_reports(converted):
    repository, conversion = converted
    assert sorted(each.name for each in repository.iterdir()) == NAMES == sorted(conversion.models)
    assert conversion.report.chosen == "torch float32"
    own = json.loads((repository / "m-encoder/report.json").read_text())
    assert own["chosen"] == "onnxruntime fp32"
    assert "the encoder runs on onnxruntime fp32" in " ".join(conversion.report.notes)
    ensemble = config_of(repository / "m")
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == [
        "m-processor", "m-encoder", "m-model", "m-detokenizer",
    ]  # fmt: skip
    optional = {each.name for each in ensemble.input if each.optional}
    assert {"image", "encoded_image", "beam_width", "max_output_len"} <= optional


def test_only_the_decoder_is_copied_to_the_decoder(converted, reader):
    repository, _ = converted
    copied, original = (path / "model.safetensors" for path in (repository / "m-model/1", reader))
    from safetensors import safe_open

    with safe_open(copied, "np") as one, safe_open(original, "np") as other:
        assert set(one.keys()) == {name for name in other.keys() if name.startswith("decoder.")}  # noqa: SIM118
        name = "decoder.model.decoder.layers.0.fc1.weight"
        np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name))


@pytest.mark.parametrize("beams", [1, 3])
def test_ids_are_those_of_transformers_from_pixels_to_tokens(converted, reader, beams):
    repository, _ = converted
    pixels = np.random.default_rng(4).normal(size=(3, 3, 16, 24)).astype(np.float32)
    with open_model(repository / "m-encoder") as encoder:
        states = encoder.run({"pixel_values": pixels})
    column = np.ones((3, 1), np.uint32)
    with open_model(repository / "m-model") as decoder:
        found = decoder.run(states | {"beam_width": column * beams, "max_output_len": column * 14})
    ids = [row[0, :length].tolist() for row, [length] in zip(*map(found.get, ("output_ids", "sequence_length")))]  # noqa: B905
    assert ids == expected_ids(reader, pixels, num_beams=beams, max_new_tokens=14)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_kind_of_encoder_passes_the_gate(encoder, tmp_path):
    decoder = "mbart" if encoder == "deit" else "gpt2"  # the projection of states is part of the encoder
    source = write_reader(tmp_path / "source", encoder, decoder)
    report = convert(source, ConvertOptions("m", tmp_path / "models", **PLAIN)).report
    assert report.chosen == "torch float32"
    [candidate] = report.candidates
    assert candidate.figures.rows > 4
    assert candidate.figures.different == 0


def test_the_gate_refuses_a_decoder_that_generates_other_tokens(reader, tmp_path, monkeypatch):
    from slipway.convert.reading import package

    def damaged(path, arrays):
        wrong = {
            name: replace(each, read=lambda each=each: each.read() * -1) if name.endswith("fc1.weight") else each
            for name, each in arrays.items()
        }
        write(path, wrong)

    write = package.write_safetensors
    monkeypatch.setattr(package, "write_safetensors", damaged)
    message = refusal(reader, ConvertOptions("m", tmp_path / "models", **PLAIN))
    assert "torch float32" in message
    assert "differ from transformers" in message


def test_an_encoder_that_misleads_the_decoder_is_made_again_in_full_precision(reader, tmp_path, monkeypatch):
    from slipway.convert.reading import encoder_flow

    real = encoder_flow.choose_variants

    def rounded(options, *, kind=""):
        if options.precision == "fp32":
            return real(options, kind=kind)
        return [Variant("onnxruntime", "int8", "dynamic")], []

    def passes(self, model, variant):  # the states alone do not show that tokens change
        return encoder_flow.GraphFlow.judge(self, model, replace(variant, precision="int8"))

    monkeypatch.setattr(encoder_flow, "choose_variants", rounded)
    monkeypatch.setattr(encoder_flow.EncoderOfImagesFlow, "judge", passes)
    from slipway.convert.reading import flow

    reasons = iter(["too many tokens differ", ""])
    monkeypatch.setattr(flow.ReadingFlow, "_refusal", lambda *_: next(reasons))
    options = ConvertOptions("m", tmp_path / "models", "onnxruntime", accuracy="fast")
    report = convert(reader, options).report
    assert "the encoder in int8 was not good enough: too many tokens differ" in report.notes
    own = json.loads((tmp_path / "models/m-encoder/report.json").read_text())
    assert own["chosen"] == "onnxruntime fp32"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory):
    """A reader of whole pages whose checkpoint has markup, converted for documents."""
    root = tmp_path_factory.mktemp("pages")
    source = write_reader(
        root / "source", "donut-swin", "mbart", markup=True, image_size=[1280, 1024],
        processor={"image_processor_type": "DonutImageProcessor"},
    )  # fmt: skip
    options = ConvertOptions("eclair", root / "models", **PLAIN, task=Task.DOCUMENT_READING, max_batch_size=5)
    return source, root / "models", convert(source, options).report


def test_a_reader_of_documents_takes_pages_as_they_are(pages):
    _, repository, report = pages
    assert sorted(each.name for each in repository.iterdir()) == sorted(report.models)
    assert "eclair-processor" not in report.models
    config = config_of(repository / "eclair")
    assert config.max_batch_size == 5
    [page], [text] = config.input, config.output
    assert (page.name, list(page.dims), page.data_type) == ("image", [1280, 1024, 3], model_config_pb2.TYPE_UINT8)
    assert (text.name, list(text.dims), text.data_type) == ("text", [1], model_config_pb2.TYPE_STRING)


def test_markup_stays_in_the_text_and_control_tokens_do_not(pages):
    source, repository, report = pages
    images = np.random.default_rng(1).integers(0, 256, (2, 1280, 1024, 3), dtype=np.uint8)
    texts = run_models(repository, "eclair", {"image": images}).ravel().tolist()
    mean, deviation = (np.array(values, np.float32).reshape(3, 1, 1) for values in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    pixels = (images.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / deviation
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    kept = [[token for token in row if token > 3] for row in expected_ids(source, pixels)]
    assert [text.decode() for text in texts] == [tokenizer.decode(row) for row in kept]
    assert any(b"<x_" in text for text in texts)
    assert any("special tokens are markup" in note for note in report.notes)


def test_pages_of_a_batch_are_encoded_one_by_one(pages):
    _, repository, _ = pages
    assert config_of(repository / "eclair-encoder").parameters["ROWS_AT_ONCE"].string_value == "1"


def test_a_page_is_read_to_its_end_unless_the_checkpoint_sets_a_length(tmp_path):
    source = write_reader(tmp_path, "donut-swin", "mbart", image_size=[1280, 1024])
    generation = json.loads((source / "generation_config.json").read_text())
    del generation["max_length"]
    (source / "generation_config.json").write_text(json.dumps(generation))
    defaults = read_reading_source(source, Task.DOCUMENT_READING).text.defaults
    assert defaults["max_output_len"] == "40"  # the decoder's positions
    assert read_reading_source(source, None).text.defaults["max_output_len"] == "20"


def test_the_steps_of_a_processor_that_a_canvas_replaces_are_named(pages):
    source, _, report = pages
    note = "the steps resize_shortest, thumbnail, pad_centre of DonutImageProcessor are not used"
    assert any(note in each for each in report.notes)
    assert not any("are not used" in each for each in read_reading_source(source, None).text.notes)


def test_int8_is_not_calibrated_with_the_pages_of_the_gate():
    gate, calibration = made_pages(40, 30), made_pages(40, 30, seed=1)
    assert all((one != other).any() for one in gate for other in calibration)


def test_what_cannot_read_pages_is_refused_with_both_sizes(reader, tmp_path):
    options = ConvertOptions("m", tmp_path / "models", **PLAIN, task=Task.DOCUMENT_READING)
    assert "images of 16 x 24 pixels (height x width), but its input has 1280 x 1024" in refusal(reader, options)


def test_unusable_checkpoints_are_refused_by_name(reader, tmp_path):
    options = ConvertOptions("m", tmp_path / "models", **PLAIN)
    for part, key, value, reason in (
        (
            "encoder",
            "model_type",
            "beit",
            "encoder of type 'beit' is not supported; supported encoders of images: deit",
        ),
        ("decoder", "model_type", "bert", "decoder of type 'bert' is not supported"),
        ("encoder", "image_size", "large", "'image_size' is 'large'"),
    ):
        source = tmp_path / f"{part}-{key}"
        source.mkdir()
        for file in reader.iterdir():
            (source / file.name).hardlink_to(file)
        config = json.loads((reader / "config.json").read_text())
        config[part][key] = value
        (source / "config.json").unlink()
        (source / "config.json").write_text(json.dumps(config))
        assert reason in refusal(source, options)


def test_options_that_do_not_fit_are_refused(reader, tmp_path):
    options = ConvertOptions("m", tmp_path / "models", **PLAIN)
    assert "can serve: image-to-text, document-reading" in refusal(reader, replace(options, task=Task.EMBEDDING))
    assert "'ctranslate2' cannot run models that read images" in refusal(reader, replace(options, engine="ctranslate2"))
    assert "does not support precision 'fp16'" in refusal(reader, replace(options, precision="fp16"))


def test_a_batch_size_is_refused_for_models_that_read_no_images(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(SlipwayError, match="--max-batch-size applies only to models that read images"):
        convert(tmp_path, ConvertOptions("m", tmp_path / "models", max_batch_size=4))


def test_files_of_typical_inputs_are_refused_with_what_takes_their_place(reader, tmp_path):
    options = ConvertOptions("m", tmp_path / "models", sample=tmp_path / "sample.npz")
    assert "--calibration takes a directory of pictures" in refusal(reader, options)


def test_int8_is_calibrated_with_the_pictures_of_a_directory(reader, tmp_path, monkeypatch):
    from PIL import Image

    from slipway.convert.reading import encoder_flow

    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (30, 20), (40 * number, 80, 120)).save(tmp_path / f"pictures/{number}.png")
    seen = []
    real = encoder_flow.GraphFlow.prepare

    def prepare(self, work):
        real(self, work)
        seen.append(self._inputs.calibration)

    monkeypatch.setattr(encoder_flow.GraphFlow, "prepare", prepare)
    options = ConvertOptions("m", tmp_path / "models", **PLAIN, calibration=tmp_path / "pictures")
    convert(reader, options)
    [rows] = seen
    assert [row["pixel_values"].shape for row in rows] == [(1, 3, 16, 24)] * 2


def test_settings_that_compare_with_a_source_text_are_named_as_ignored(reader, tmp_path):
    for file in reader.iterdir():
        (tmp_path / file.name).hardlink_to(file)
    (tmp_path / "generation_config.json").unlink()
    settings = json.loads((reader / "generation_config.json").read_text()) | {"encoder_no_repeat_ngram_size": 3}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    text = read_reading_source(tmp_path, None).text
    assert any("encoder_no_repeat_ngram_size, which needs a source text" in note for note in text.notes)
    assert "encoder_no_repeat_ngram_size" not in text.defaults
