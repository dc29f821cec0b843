"""What-if: the ways to make a transfer lawful, cheapest first."""
