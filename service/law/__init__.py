"""Determines the requirements of the law on a day, from dated rules, with texts in English and Chinese."""
