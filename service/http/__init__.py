"""What the routes of every room share."""
