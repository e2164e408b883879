"""Doors of the simulated world for foreign programs: pseudo-terminals and TCP, in real time or faster. The only asyncio here."""
