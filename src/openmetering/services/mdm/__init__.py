"""Data work of a head-end: evidence out of the store, validation, due dates, monthly information, reports, privacy."""
