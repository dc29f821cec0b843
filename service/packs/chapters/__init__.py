"""The sections of a report, one a module: each puts its part of a data into blocks of plain text."""
