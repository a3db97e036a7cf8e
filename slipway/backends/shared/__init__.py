"""What several backends share: graphs, stacked batches, generation, parameters."""
