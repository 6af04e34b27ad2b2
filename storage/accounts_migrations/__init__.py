"""The schema of accounts.sqlite, step by step. A migration is never edited once released."""
