"""Finds what this version answers otherwise than the one before, in a database of before: see `outbound upgrade check`."""
