"""The one neural network of the project: what it is, its weights, the engines that run it. Knows no file format."""
