"""Numbers of all advisory locks, so that no two are one."""

from typing import Final

GATE_LOCK: Final = 0x0B0D
"""The gate: shared by decisions, exclusive to whatever can turn an allow into a deny."""
FIRST_ADMIN_LOCK: Final = 0x0B0E
SAMPLE_LOCK: Final = 0x0B0F
FINDINGS_LOCK: Final = 0x0B10
POWERS_LOCK: Final = 0x0B30
LOG_LOCK: Final = 0x0B11
"""The log: whoever holds it writes leaves, tiles and checkpoints. It belongs to a connection, and so does the gate's at first
where questions alone are decided; the others belong to a transaction."""
