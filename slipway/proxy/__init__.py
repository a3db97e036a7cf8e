"""A FastAPI application in front of a server of the protocol: plain JSON in and out, a typed route per model."""
