"""Link layers: wired (EN 60870-5-2 FT1.2) and wireless (EN 13757-4)."""
