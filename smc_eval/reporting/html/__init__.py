"""The page: what records say, as one file that settles an argument, and as figures for papers."""
