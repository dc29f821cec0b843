"""What this version answers otherwise than the one before, told from a database of before: see `outbound upgrade check`."""
