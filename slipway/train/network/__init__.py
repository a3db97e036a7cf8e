"""The Transformer with gradients: parameters under tensor2tensor's names, layers, loss. Imports torch at once."""
