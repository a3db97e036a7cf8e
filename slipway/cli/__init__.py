"""The command line: parse, call, print. One module per command, imported when the command is used."""
