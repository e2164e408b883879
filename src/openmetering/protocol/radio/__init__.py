"""Devices on the radio: schedule, credits, end-device, repeaters, adapters, displays. Source: EN 13757-4, OMS Volume 2."""
