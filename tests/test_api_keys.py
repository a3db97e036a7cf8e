"""API keys: what can be one, how a file is read and followed, and which headers are admitted."""

from __future__ import annotations

import logging

import pytest

from slipway.api_keys import NO_KEY, WRONG_KEY, ApiKeys, is_readable_by_others, key_digest, read_key_file

SECRET = "sk-f1rst/+=.~"  # noqa: S105  of these tests
OTHER = "sk-second"


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{SECRET}\n")
    return path


def replace(path, text):
    """Replace a file as tools do, so that it is another one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "the key is empty"),
        ("two words", "a character that is not printable ASCII, or a space"),
        ("schl\u00fcssel", "not printable ASCII"),
        ("tab\t", "not printable ASCII"),
        pytest.param("\udce4", "not printable ASCII", id="surrogate"),
        pytest.param("x" * 1025, "more than 1024 characters", id="long"),
    ],
)
def test_what_no_header_can_carry_is_not_a_key(key, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        key_digest(key)
    assert not key or key not in str(caught.value)


def test_a_digest_shows_nothing():
    assert repr(key_digest(SECRET)) == "KeyDigest()"
    assert key_digest(SECRET) == key_digest(SECRET) != key_digest(OTHER)


def test_a_file_has_a_key_per_line_and_comments(tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbf# for the gateway\r\n\r\n  one\r\ntwo\t# Bo\nt#ree\none\n#four\n")
    assert read_key_file(path) == ["one", "two", "t#ree"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not contain a key"),
        (b"# nothing\n\n", "does not contain a key"),
        (b"a\nb c\n", "line 2: expected one key"),
        (b"a\n\n\xff\xfe\n", "line 3: the key contains a character"),
        pytest.param(b"x" * 1025, "line 1: the key has more than 1024 characters", id="long"),
        pytest.param(b"\n".join(b"k%d" % each for each in range(1001)), "contains 1001 keys; at most 1000", id="many"),
        pytest.param(b" " * ((1 << 20) + 1), "is larger than 1048576 bytes", id="large"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_line(tmp_path, data, reason):
    path = tmp_path / "keys"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_key_file(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory"), ("\0", "NUL")):
        with pytest.raises(ValueError, match=reason):
            read_key_file(type(tmp_path)(path))


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        (f"Bearer {SECRET}", "", ""),
        (f"bearer {SECRET}", "", ""),
        (f"BEARER   {SECRET} ", "", ""),
        ("", SECRET, ""),
        ("Basic dTpw", SECRET, ""),
        (f"Bearer {OTHER}", SECRET, ""),
        (f"Bearer {SECRET}", OTHER, ""),
        ("", "", NO_KEY),
        ("Bearer", "", NO_KEY),
        ("Bearer ", "", NO_KEY),
        (f"Basic {SECRET}", "", NO_KEY),
        (SECRET, "", NO_KEY),
        (f"Bearer\t{SECRET}", "", NO_KEY),
        (f"Bearer {SECRET[:-1]}", "", WRONG_KEY),
        (f"Bearer {SECRET}x", "", WRONG_KEY),
        (f"Bearer {SECRET.upper()}", "", WRONG_KEY),
        (f"Bearer {SECRET}, Bearer {SECRET}", "", WRONG_KEY),
        (f"Bearer Bearer {SECRET}", "", WRONG_KEY),
        ("", f"{SECRET}, {SECRET}", WRONG_KEY),
        ("", f"Bearer {SECRET}", WRONG_KEY),
        pytest.param("", "x" * 70_000, WRONG_KEY, id="long"),
    ],
)
def test_one_whole_key_in_either_header_is_needed(authorization, api_key, expected):
    keys = ApiKeys([key_digest("another"), key_digest(SECRET)])
    assert keys.refusal(authorization.encode(), api_key.encode()) == expected


def test_every_key_is_compared_whichever_fits(monkeypatch):
    compared = []
    monkeypatch.setattr("slipway.api_keys.compare_digest", lambda one, other: compared.append(one) or one == other)
    keys = ApiKeys([key_digest(name) for name in ("a", "b", "c")])
    for presented in (b"a", b"c", b"d"):
        compared.clear()
        keys.refusal(b"", presented)
        assert compared == [key_digest(name).value for name in ("a", "b", "c")]


def test_a_changed_file_is_read_within_a_second(file, caplog):
    clock = Clock()
    keys = ApiKeys([key_digest("given")], file, clock)
    keys.load()
    assert not keys.refusal(b"", SECRET.encode())
    caplog.set_level(logging.INFO)
    replace(file, f"{OTHER}\n")
    clock.now += 0.5
    assert not keys.refusal(b"", SECRET.encode())
    clock.now += 0.5
    assert keys.refusal(b"", SECRET.encode()) == WRONG_KEY
    assert not keys.refusal(b"", OTHER.encode())
    assert not keys.refusal(b"", b"given")
    assert f"using the 1 API keys that '{file}' contains now" in caplog.text
    assert OTHER not in caplog.text


@pytest.mark.parametrize("broken", ["", "# none\n", "two words\n", None])
def test_a_change_that_cannot_be_used_is_logged_once_and_the_keys_stay(file, caplog, broken):
    clock = Clock()
    keys = ApiKeys([], file, clock)
    keys.load()
    if broken is None:
        file.unlink()
    else:
        replace(file, broken)
    for _ in range(3):
        clock.now += 1
        assert not keys.refusal(b"", SECRET.encode())
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert str(file) in caplog.text
    replace(file, f"{OTHER}\n")
    clock.now += 1
    assert keys.refusal(b"", SECRET.encode()) == WRONG_KEY


def test_a_file_that_others_can_read_is_known(file, caplog):
    file.chmod(0o640)
    assert not is_readable_by_others(file)
    clock = Clock()
    keys = ApiKeys([], file, clock)
    keys.load()
    file.write_text(f"{OTHER}\n# more\n")
    file.chmod(0o644)
    clock.now += 1
    assert not keys.refusal(b"", OTHER.encode())
    assert is_readable_by_others(file)
    assert f"chmod o-r '{file}'" in caplog.text
    assert not is_readable_by_others(file.parent / "absent")
