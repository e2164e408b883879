"""MSCONS: meter readings and load profiles as EDIFACT, both ways."""

from openmetering.mdm.mscons.codes import METHODS, QUALIFIERS, STATUS
from openmetering.mdm.mscons.edifact import Segment
from openmetering.mdm.mscons.model import Interchange, Item, Location, Message, Party, Value
from openmetering.mdm.mscons.reader import read
from openmetering.mdm.mscons.writer import write

__all__ = [
    "METHODS", "QUALIFIERS", "STATUS", "Interchange", "Item", "Location", "Message", "Party", "Segment", "Value", "read", "write",
]  # fmt: skip
