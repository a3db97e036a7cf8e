"""Model repositories in object storage and on web servers, kept as local copies."""
