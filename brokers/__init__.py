"""One folder for each broker, one socket loop and one pooled transport for all; nothing outside reads a broker's own words."""
