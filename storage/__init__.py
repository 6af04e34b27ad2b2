"""What must outlive the process: the ledger (orders, fills, positions, journal) and the audit segments of the workers."""
