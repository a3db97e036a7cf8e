"""gRPC over HTTP/2 on the event loop: no library between the socket and the call, and no other thread."""
