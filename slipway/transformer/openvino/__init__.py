"""Decoder-only transformers on OpenVINO's CPU plugin: what it can express, the stored weights, the graph, the network.

The graph is built from the specification; keys and values are in pages (`transformer/paged/`). Knows no other engine.
"""
