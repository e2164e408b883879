"""Reports for people and programs: CSV, JSON lines and PDF of the same data, and their delivery."""
