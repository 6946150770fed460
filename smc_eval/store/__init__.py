"""The store on disk: nets, records, certificates, predictions and masks, by digest."""
