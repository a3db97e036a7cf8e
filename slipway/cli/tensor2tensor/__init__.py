"""tensor2tensor's commands, and those that its users run around them: one module per command, flags as absl reads
them."""
