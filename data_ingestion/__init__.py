"""Market data on its way in: the day's instruments, live ticks made into bars, recorded days, history and data files."""
