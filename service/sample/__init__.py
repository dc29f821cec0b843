"""An invented company to try the service on."""
