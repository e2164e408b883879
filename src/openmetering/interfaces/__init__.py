"""Doors for people and programs; objects are put together here."""
