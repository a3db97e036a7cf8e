"""A model that is one graph, arrays in and arrays out: its candidates are built, compared, measured and scheduled here.

The wings `encoders/` and `vision/` open their sources as a `Subject`; nothing here knows where one comes from.
"""
