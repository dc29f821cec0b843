"""Offline verification of evidence packs. Shares no code with the builder of packs."""
