"""The gateway daemon: sources to a spool on disk, and from there to a head-end; commands down again."""
