"""What lies on disk: nets, masks, predictions, records, and the leases of those who write."""
