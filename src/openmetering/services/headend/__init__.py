"""The head-end: devices and keys, readings, alarms, jobs and who may see and do what."""
