"""Permits: what an approved transfer allows, until when, and how much of it is used."""
