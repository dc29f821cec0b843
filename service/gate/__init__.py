"""Gate: decides on exports, records each decision, then answers."""
