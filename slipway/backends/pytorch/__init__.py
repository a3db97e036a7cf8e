"""The backend `pytorch`: TorchScript and torch.export files on the CPU. torch is imported when a model loads."""
