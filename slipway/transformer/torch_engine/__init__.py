"""The engine that computes with torch: rows in, hypotheses and hidden states out."""
