"""Programs put together: head-end, gateways and page in one process, and the simulated world of the demonstration."""
