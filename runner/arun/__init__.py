"""arun: an HTTP instance runner that always answers."""

__version__ = "0.1.0"
#: The first arguments that are commands. Such a word always means the command: an app of that name is status:app,
#: status.py or ./status.
COMMANDS = ("why", "check", "drill", "status", "reload", "stop", "health", "offline", "online")
