"""Shared memory of clients: regions, where requests' tensors are in them, and the requests that use them."""
