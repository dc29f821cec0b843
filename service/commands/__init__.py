"""What the `outbound` command does, a module for what is asked together: each is loaded when one of its commands is asked for."""
