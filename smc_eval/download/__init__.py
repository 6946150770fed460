"""Downloading and verifying data: `data fetch` and `data verify`."""
