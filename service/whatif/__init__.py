"""Answers what would be: determinations on request, plans (cheapest first), outlooks, the impact of a policy. Nothing is stored."""
