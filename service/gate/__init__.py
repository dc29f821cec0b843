"""The gate: may this export happen? Answered, recorded, then told."""
