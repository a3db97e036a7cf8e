"""The process that writes traces (`python -m slipway.tracing.exporting`): to Triton's files, or as OpenTelemetry spans.

It reads messages (`tracing.record`) from standard input and reports on standard output what became of them. A disk that
is full, a collector that hangs, or traces that come faster than they can be written cost the server only these traces.
"""
