"""A world for the machines: virtual time, a radio channel, a wired bus, buildings full of meters."""
