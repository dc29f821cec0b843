"""Subcommands of `outbound`, a module for each subject: each is loaded when one of its commands is called."""
