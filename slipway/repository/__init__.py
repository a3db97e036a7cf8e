"""Model repositories: their contents, what changed, which versions a policy selects. Does not know about loading."""
