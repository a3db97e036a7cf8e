"""Codecs between bytes and requests. Pure: no sockets, no models."""
