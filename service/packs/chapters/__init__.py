"""The sections of a report, one a module: each puts its part of a story into blocks of plain text."""
