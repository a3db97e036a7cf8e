"""The wing for image models: how images become the input of a network. Knows no task yet."""
