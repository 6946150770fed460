"""What is shown: tables, exports, comparisons and pages, computed from records alone."""
