"""Texts in English and Simplified Chinese, and how numbers and times are written."""
