"""The ledger's schema, step by step. A migration is never edited once released."""
