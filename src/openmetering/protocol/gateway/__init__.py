"""The operator's end of the link: gateway, sessions, collision avoidance, link security, and the same on a wire."""
