"""PostgreSQL: sessions, ids, locks, faults, row-level security, logins, migrations, the embedded server."""
