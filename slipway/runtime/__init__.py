"""What converted models run on."""
