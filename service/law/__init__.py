"""Determines what the law asks for on a given day: rules as dated data, a small engine, and texts in English and Chinese."""
