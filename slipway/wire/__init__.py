"""Codecs between bytes and requests or responses. Pure: no sockets, no models."""
