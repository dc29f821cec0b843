"""Reserves, completes and cancels exports under permits, and counts their persons."""
