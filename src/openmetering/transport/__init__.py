"""Doors to the world: text lines, radio sticks, wired converters, files, sockets.

``reception`` is what every door delivers, ``lines`` and ``raw`` read text and octet
streams, ``sticks`` speaks the protocols of radio sticks; all of them without input or
output. ``links`` and ``sources`` are the asyncio doors around them.
"""
