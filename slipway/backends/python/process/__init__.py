"""A Python model in a child process.

The server's side: `instance` on `server_link` and `server_services`. The child's side: `child`, the program, on
`child_link` and `child_server`. Both sides: `messages` in `frames`, over `shared_memory`.
"""
