"""The page in the browser: its files, and the few routes that only it uses."""
