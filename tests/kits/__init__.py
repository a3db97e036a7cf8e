"""Code that tests in several folders share: tiny models and checkpoints, repositories, calls, servers, a dataplane."""
