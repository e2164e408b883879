"""MSCONS: meter readings and load profiles as EDIFACT, both ways."""

from openmetering.mdm.mscons.messages import QUALIFIERS, Interchange, Item, Location, Message, Value, read, write

__all__ = ["QUALIFIERS", "Interchange", "Item", "Location", "Message", "Value", "read", "write"]
