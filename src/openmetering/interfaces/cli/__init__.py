"""The command ``oms``; one module per command."""
