"""The web page: its bundle and its server."""
