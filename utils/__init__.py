"""Tools that know no market: configuration, logging, pacing, the control client."""
