"""Rules that stand in SQL and in Python: both give the same answer on generated rows, on a real PostgreSQL."""
