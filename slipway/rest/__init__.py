"""The HTTP front: decode, call the dataplane, encode."""
