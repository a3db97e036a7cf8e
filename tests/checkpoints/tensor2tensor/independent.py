"""Readers of tensor2tensor's data that share no code with the project, to compare with."""

import struct

TABLE = []
for index in range(256):
    crc = index
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    TABLE.append(crc)


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """Return all payloads, after checking both checksums of each."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        assert crc == masked_crc(data[at : at + 8])
        payload = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length) == (masked_crc(payload),)
        found.append(payload)
        at += length + 16
    return found


def fields(data):
    """Yield number and value of each field of a protobuf message: an int, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value

    while at < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        yield tag >> 3, value


def packed(data):
    """Return the integers of a packed list."""
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


def example(payload):
    """Return the integer features of a tf.train.Example."""
    found = {}
    (features,) = [value for number, value in fields(payload) if number == 1]
    for _, entry in fields(features):
        parts = dict(fields(entry))
        int64_list = dict(fields(parts[2]))[3]
        found[parts[1].decode()] = packed(dict(fields(int64_list)).get(1, b""))
    return found
