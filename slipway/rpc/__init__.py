"""The gRPC front: decode, call the dataplane, encode."""
