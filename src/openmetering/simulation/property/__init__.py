"""A property over a year: flats with meters of every billed medium, what gateways hear of them, faults, and the truth."""

from openmetering.simulation.property.faults import FAULT_KINDS, Injected
from openmetering.simulation.property.meters import PropertyDevice, PropertyPoint
from openmetering.simulation.property.year import PropertyYear

__all__ = ["FAULT_KINDS", "Injected", "PropertyDevice", "PropertyPoint", "PropertyYear"]
