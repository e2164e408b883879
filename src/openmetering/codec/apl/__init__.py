"""The application layer: records (EN 13757-3) and the protocols beside them."""
