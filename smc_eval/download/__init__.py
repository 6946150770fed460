"""Data that is fetched and verified: `data fetch` and `data verify`."""
