"""What a configuration may not request: absurd counts, files outside the model, features that would be ignored."""

from __future__ import annotations

import pytest

from tests.config.texts import IO, X, group, io, problems, state, x


def warmup(sample, tensor):
    return (
        f'{IO} model_warmup [{{ name: "w" {sample} inputs {{ key: "x" value {{ data_type: TYPE_FP32 {tensor} }} }} }}]'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (group("count: 1000000000"), "at most 1024 instances are allowed, but 1000000000 are requested for m"),
        (
            IO + "instance_group [{ count: 1000 }, { count: 1000 }]",
            "at most 1024 instances are allowed, but 2000 are requested for m",
        ),
        (
            group(f"kind: KIND_GPU count: 512 gpus: {[0, 1, 2]}"),
            "at most 1024 instances are allowed, but 1536 are requested for m",
        ),
        (
            f"{IO} version_policy {{ specific {{ versions: {list(range(2000))} }} }}",
            "version policy must name at most 1024 versions, but names 2000 for m",
        ),
        (
            warmup("batch_size: 1000000 ", "dims: [ 1000000000 ] zero_data: true"),
            "warmup sample 'w' may have at most 268435456 elements and 63 dims in input 'x' for m",
        ),
        (
            warmup("", f"dims: {[2**62] * 100_000} zero_data: true"),
            "warmup sample 'w' may have at most 268435456 elements and 63 dims in input 'x' for m",
        ),
        (x(f"dims: {[2**62] * 100_000} reshape {{ shape: [ 1 ] }}"), "model input 'x' has more than 63 dims for m"),
    ],
)
def test_absurd_counts_are_refused_before_anything_is_made(tmp_path, text, expected):
    assert problems(tmp_path, text) == [expected]


def test_a_repository_agent_is_not_ignored(tmp_path):
    text = IO + 'model_repository_agents { agents [ { name: "relocation" parameters { key: "MD5:a" value: "b" } } ] }'
    assert problems(tmp_path, text) == ["unable to find repo agent 'relocation' for m: only 'checksum' is supported"]


# Files


def label(name):
    return io(X, f'{{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "{name}" }}')


def warmup_file(name):
    return warmup("batch_size: 1", f'dims: [ 4 ] input_data_file: "{name}"')


def initial_state(name):
    return state(f'initial_state [{{ name: "i" data_type: TYPE_INT32 dims: [ 1 ] data_file: "{name}" }}]')


def model_file(name):
    return f'{IO} default_model_filename: "{name}"'


OUTSIDE = ["../secret", "sub/../../secret", "/etc/hostname", "a\\000b"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("make", [label, warmup_file, initial_state, model_file])
def test_a_file_outside_of_the_model_is_refused(tmp_path, make, name):
    (problem,) = problems(tmp_path, make(name))
    assert "must stay within the" in problem
    assert str(tmp_path) not in problem


@pytest.mark.parametrize(("make", "place"), [(label, "."), (warmup_file, "warmup"), (initial_state, "initial_state")])
def test_a_link_out_of_the_model_is_refused(tmp_path, make, place):
    model = tmp_path / "m"
    (model / place).mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (model / place / "inside").write_text("i")
    (model / place / "out").symlink_to(tmp_path / "secret")
    (model / place / "in").symlink_to(model / place / "inside")
    (model / place / "loop").symlink_to(model / place / "loop")
    assert problems(model, make("in")) == []
    assert len(problems(model, make("out"))) == 1


def test_a_model_directory_may_itself_be_a_link(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "labels.txt").write_text("a")
    (tmp_path / "m").symlink_to(tmp_path / "store")
    assert problems(tmp_path / "m", label("labels.txt")) == []
