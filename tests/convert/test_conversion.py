"""The order of steps in every conversion, with a minimal family of models."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from slipway.convert.conversion import Conversion, Converted
from slipway.convert.flow import GateVerdict, Made
from slipway.convert.options import ConvertOptions
from slipway.convert.report import Candidate, Columns, ConversionReport
from slipway.convert.runner import OpenModel
from slipway.convert.variants import Skipped, Variant
from slipway.errors import SlipwayError, invalid

SLOW, FAST, WRONG = Variant("slow", "fp32"), Variant("fast", "fp32"), Variant("wrong", "int8")
BROKEN, PLAIN = Variant("broken", "fp32"), Variant("plain", "fp32", "to compare", competes=False)
CONFIG = """
backend: "python" max_batch_size: 4
input {{ name: "x" data_type: TYPE_FP32 dims: [ 2 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }}
instance_group {{ count: {count} kind: KIND_CPU }}
parameters {{ key: "EXECUTION_MODE" value {{ string_value: "thread" }} }}
"""
MODEL = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb.InferenceResponse([pb.Tensor("y", pb.get_input_tensor_by_name(request, "x").as_numpy())])
            for request in requests
        ]
"""


@dataclass(frozen=True)
class Echo:
    """The figures of the family: the number of values returned."""

    values: int


@dataclass(frozen=True)
class Beat:
    """The speed of the family."""

    rate: float


class EchoFlow:
    """A family whose models return their input. Implements `flow.Flow`.

    `rates` are its measurements, one after the other; `steps` records the calls.
    """

    model = "m"
    taken = ("m", "m-around", "m-old")

    def __init__(self, variants: Sequence[Variant], rates: Sequence[float] = (10, 11, 10, 11)) -> None:
        self.variants = variants
        self.steps: list[str] = []
        self.final_instances = 1
        self.refused_at_the_end = False
        self._rates = iter(rates)
        columns = Columns(
            ("values", "beats"),
            lambda each: (str(each.figures), str(each.speeds)),
            lambda each: {"echo": each.figures, "beats": each.speeds},
            lambda _: "in beats",
        )
        self.report = ConversionReport(
            columns, "source", "0", "echo", "itself", ("m", "m-around"), (8,), "none", "again"
        )

    def prepare(self, work: Path) -> None:
        assert not list(work.iterdir())
        self.steps.append("prepare")

    def make(self, variant: Variant, directory: Path) -> None:
        self.steps.append(f"make {variant.engine}")
        if variant == BROKEN:
            raise invalid("its tools cannot")
        (directory / "1").mkdir(parents=True)
        (directory / "1" / "model.py").write_text(MODEL)
        self._configure(directory, 1)

    def _configure(self, directory: Path, count: int) -> None:
        (directory / "config.pbtxt").write_text(f'name: "{directory.name}" {CONFIG.format(count=count)}')

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        self.steps.append(f"judge {variant.engine}")
        x = np.ones((3, 2), np.float32)
        np.testing.assert_array_equal(model.run({"x": x})["y"], x)
        late = self.refused_at_the_end and len(model.executors) > 1
        return GateVerdict(Echo(x.size), ("it differs",) if variant == WRONG or late else ())

    def measure(self, model: OpenModel) -> tuple[Beat, ...]:  # noqa: ARG002  the rates are given
        self.steps.append("measure")
        return (Beat(next(self._rates)),)

    def package(self, winner: Made, new: Path) -> None:
        self.steps.append(f"package {winner.variant.engine}")
        self._configure(winner.directory, self.final_instances)
        (new / "m-around").mkdir()


def convert(flow: EchoFlow, repository: Path, **changes: object) -> Converted:
    options = replace(ConvertOptions("m", repository), **changes)
    return Conversion(flow, options).run(time.monotonic())


def status(converted: Converted) -> dict[str, str]:
    return {each.variant.engine: each.status for each in converted.report.candidates}


def test_every_candidate_is_made_judged_and_measured_before_one_is_packaged(tmp_path):
    flow = EchoFlow([SLOW, FAST])
    converted = convert(flow, tmp_path / "models")
    assert flow.steps == [
        "prepare",
        "make slow", "judge slow", "measure",
        "make fast", "judge fast", "measure",
        "measure", "measure",
        "package fast",
    ]  # fmt: skip
    assert status(converted) == {"slow": "passed", "fast": "chosen"}
    assert converted.report.why == "the fastest of 2 that passed the gate, in beats"
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["m", "m-around"]
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_the_report_writes_what_the_family_found_under_its_own_names(tmp_path):
    convert(EchoFlow([FAST]), tmp_path)
    document = json.loads((tmp_path / "m/report.json").read_text())
    (candidate,) = document["candidates"]
    assert candidate["echo"] == {"values": 6}
    assert candidate["beats"] == [{"rate": 10}]
    assert (candidate["label"], candidate["precision"], candidate["bytes"]) == ("fast fp32", "fp32", len(MODEL))
    assert "columns" not in document
    assert "| candidate | gate | values | beats | MB |" in (tmp_path / "m/report.md").read_text()


def test_finalists_are_measured_again_and_keep_the_better_figure(tmp_path):
    report = convert(EchoFlow([SLOW, FAST], rates=[10, 11, 12, 9]), tmp_path).report
    assert [each.rate for each in report.candidates] == [12.0, 11.0]
    assert report.chosen == "slow fp32"


def test_where_the_clock_cannot_tell_the_candidate_that_keeps_more_digits_is_chosen(tmp_path):
    rounded = Variant("rounded", "int8")
    report = convert(EchoFlow([SLOW, rounded], rates=[10, 9, 9.5, 12]), tmp_path).report
    assert report.chosen == "slow fp32"
    assert report.why == (
        "rounded int8 was measured 20% faster, but its own measurements differ by 33%: too noisy to tell, and fp32 is "
        "more precise"
    )


def test_a_faster_candidate_is_chosen_where_the_clock_can_tell(tmp_path):
    rounded = Variant("rounded", "int8")
    assert convert(EchoFlow([SLOW, rounded], rates=[10, 14, 10, 14.5]), tmp_path).report.chosen == "rounded int8"


def test_what_the_chosen_candidate_lost_and_how_to_keep_it_is_said(tmp_path):
    flow = EchoFlow([FAST])
    flow.report.columns = replace(flow.report.columns, lost=lambda _: "a beat")
    report = convert(flow, tmp_path).report
    assert report.loss_lines() == [
        "fast fp32 is not exact: a beat",
        "--precision fp32 loses no accuracy; --accuracy high allows less loss, --accuracy fast more",
    ]
    assert "## What was lost" in (tmp_path / "m/report.md").read_text()
    assert json.loads((tmp_path / "m/report.json").read_text())["lost"] == ["fast fp32 is not exact: a beat"]


def test_a_candidate_that_is_far_behind_is_not_measured_again(tmp_path):
    flow = EchoFlow([SLOW, FAST], rates=[5, 11])
    assert convert(flow, tmp_path).report.chosen == "fast fp32"
    assert flow.steps.count("measure") == 2


def test_a_candidate_that_cannot_be_built_does_not_stop_the_others(tmp_path):
    flow = EchoFlow([BROKEN, FAST])
    report = convert(flow, tmp_path).report
    assert report.skipped == [Skipped("broken fp32", "its tools cannot")]
    assert (report.chosen, report.why) == ("fast fp32", "it was requested and passed the gate")


def test_a_refused_candidate_is_not_measured_and_never_chosen_over_one_that_passed(tmp_path):
    flow = EchoFlow([WRONG, SLOW])
    converted = convert(flow, tmp_path)
    assert status(converted) == {"wrong": "refused", "slow": "chosen"}
    assert converted.report.why == "the only one that passed the gate"
    assert flow.steps == ["prepare", "make wrong", "judge wrong", "make slow", "judge slow", "measure", "package slow"]


def test_when_all_are_refused_the_error_lists_the_reasons_and_nothing_is_written(tmp_path):
    expected = r"no candidate passed the gate; nothing was written: wrong int8: it differs \| broken fp32: its tools"
    with pytest.raises(SlipwayError, match=expected):
        convert(EchoFlow([WRONG, BROKEN]), tmp_path / "models")
    assert not list(tmp_path.iterdir())


def test_a_refused_candidate_is_written_with_accept_and_the_report_says_so(tmp_path):
    converted = convert(EchoFlow([WRONG]), tmp_path, accept=True)
    assert status(converted) == {"wrong": "accepted although refused"}
    assert converted.report.why == "--accept overrode the gate, although it differs"
    assert "although it differs" in (tmp_path / "m/report.md").read_text()


def test_what_is_measured_for_comparison_only_is_never_chosen(tmp_path):
    converted = convert(EchoFlow([SLOW, PLAIN]), tmp_path)
    assert status(converted) == {"slow": "chosen", "plain": "for comparison only"}


def test_a_dry_run_names_what_would_be_tried_and_touches_nothing(tmp_path):
    flow = EchoFlow([SLOW, FAST, PLAIN])
    converted = convert(flow, tmp_path / "models", dry_run=True)
    assert not converted.written
    assert status(converted) == {"slow": "to be tried", "fast": "to be tried"}
    assert (flow.steps, list(tmp_path.iterdir())) == ([], [])


def test_a_winner_whose_config_changed_is_verified_again_as_it_will_be_served(tmp_path):
    flow = EchoFlow([FAST])
    flow.final_instances = 2
    convert(flow, tmp_path)
    assert flow.steps[-2:] == ["package fast", "judge fast"]


def test_a_winner_that_fails_with_its_final_config_leaves_nothing_behind(tmp_path):
    flow = EchoFlow([FAST])
    flow.final_instances = 2
    flow.refused_at_the_end = True
    with pytest.raises(SlipwayError, match="with its final configuration, it differs; nothing was written"):
        convert(flow, tmp_path / "models")
    assert not list(tmp_path.iterdir())


def test_existing_models_are_replaced_together_and_only_with_overwrite(tmp_path):
    for name in ("m", "m-old"):
        (tmp_path / name).mkdir()
    flow = EchoFlow([FAST])
    with pytest.raises(SlipwayError, match="already exists; --overwrite replaces it"):
        convert(flow, tmp_path)
    assert flow.steps == []
    convert(flow, tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m-around"]


def test_the_rate_of_a_candidate_is_the_geometric_mean_of_its_speeds():
    assert Candidate(FAST).rate == 0
    assert Candidate(FAST, speeds=(Beat(2.0), Beat(8.0))).rate == pytest.approx(4.0)
