"""Outbound: the gate that data passes before it leaves mainland China."""
