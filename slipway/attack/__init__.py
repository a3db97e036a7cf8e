"""`slipway attack`: send a KServe v2 server on this machine what an attacker would send, and report what held.

Each group of attacks is a row of `table.py` and a function in the module of its family. The package speaks to servers
only through sockets and knows nothing of how this one is built. It reaches loopback addresses alone (`loopback.py`),
and every group is bounded in time, bytes and connections (`bounds.py`).
"""
