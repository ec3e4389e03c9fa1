"""What the service does: commands, ports, handlers and the process manager. No I/O library in here."""
