"""What people type: parse, call, print."""
