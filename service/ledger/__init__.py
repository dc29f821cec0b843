"""The year's persons of each handler, and the exports that they come from."""
