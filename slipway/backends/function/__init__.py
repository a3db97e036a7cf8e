"""The backend `function`: functions and classes of the Python program that the server runs in."""
