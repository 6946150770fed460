"""Export: the net of a finished cell as a folder that others can load."""
