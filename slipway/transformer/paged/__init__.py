"""Decoding with rows that join and leave: keys and values live in pages of a pool with a fixed size."""
