"""The HTML page of records, as one file, and its figures as files for papers."""
