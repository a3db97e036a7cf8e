"""What people type: parse, call, print. One module per command, imported when it is asked for."""
