"""Services: key files, gateway and head-end daemons; wiring of the floors below."""
