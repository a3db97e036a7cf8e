"""N executions of one loaded model: inline, in threads, in child processes."""
