"""The documentation site: what is written in docs/, and pages made of cards, flags, types and scripts."""
