"""Trains tensor2tensor's Transformer: problems, batches, schedules, optimisers, checkpoints, evaluation."""
