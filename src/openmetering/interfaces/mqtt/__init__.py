"""Readings to an MQTT broker: state per meter, discovery for Home Assistant, the view of wmbusmeters. Extra ``mqtt``."""
