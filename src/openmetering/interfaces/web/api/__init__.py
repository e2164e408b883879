"""The REST API: one module per group of routes; each calls the guarded head-end and nothing else."""
