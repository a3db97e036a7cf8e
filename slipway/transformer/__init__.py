"""The project's one neural network: its description, its weights, the engines that run it. Knows no file format."""
