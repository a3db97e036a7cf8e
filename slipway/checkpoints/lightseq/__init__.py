"""LightSeq's model files, `.pb` and `.hdf5`: read, written, exported."""
