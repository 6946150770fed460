"""Tables, exports, comparisons and HTML pages, computed from records alone."""
