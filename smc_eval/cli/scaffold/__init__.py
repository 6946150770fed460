"""The package of a new plugin: its name, and its files from templates."""
