"""What tests of several folders share: tiny models and checkpoints, repositories, calls, servers, a dataplane."""
