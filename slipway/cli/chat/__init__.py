"""`slipway chat`: a conversation in the terminal with a model that is served, here or elsewhere."""
