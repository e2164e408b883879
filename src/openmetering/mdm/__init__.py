"""Meter data management: from readings to what may be billed. Pure: times, peers and rules are arguments."""
