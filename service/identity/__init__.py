"""Principals, their API keys, and the roles granted to them."""
