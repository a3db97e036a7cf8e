"""A server inside a Python program, whose functions it serves: `slipway.Server`."""
