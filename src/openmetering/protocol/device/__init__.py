"""The application side of end-devices: what a command does and what a device answers, without any link."""
