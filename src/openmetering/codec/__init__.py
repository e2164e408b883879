"""Octets to layers and back; a module per layer, none knows another."""
