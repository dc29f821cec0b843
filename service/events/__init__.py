"""Notifies those whom a change concerns, with everything they need to act."""
