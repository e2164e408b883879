"""Pages that stand on their own: one file, no server, nothing loaded from elsewhere."""
