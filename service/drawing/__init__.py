"""SVG drawings, and the fonts that documents are set in."""
