"""Lists the answers of the version before that this version changes: see `outbound upgrade check`."""
