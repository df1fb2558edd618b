"""All that understands sound."""
