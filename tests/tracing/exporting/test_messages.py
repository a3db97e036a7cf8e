"""Messages arrive whole, however the pipe cuts them."""

from __future__ import annotations

import os
import threading

import pytest

from slipway.tracing.exporting.messages import read_messages

MESSAGES = [b"", b"a", b"b" * 300, b"c" * 70_000]


@pytest.mark.parametrize("size", [1, 3, 4096, 1 << 20])
def test_messages_arrive_whole_and_in_order(size):
    messages = MESSAGES[:3] if size == 1 else MESSAGES
    data = b"".join(len(message).to_bytes(4, "little") + message for message in messages)
    reading, writing = os.pipe()

    def write() -> None:
        for start in range(0, len(data), size):
            os.write(writing, data[start : start + size])
        os.write(writing, b"\x09\x00\x00\x00cut off")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    received = [message for batch in read_messages(reading) for message in batch]
    writer.join()
    os.close(reading)
    assert received == messages
