"""Values without I/O, clock or transport: tensors, requests, batches, statistics."""
