"""Protocol rules as machines without input or output: time and randomness are arguments."""
