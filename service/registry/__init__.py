"""The register: handlers, datasets with their gradings, and recipients abroad."""
