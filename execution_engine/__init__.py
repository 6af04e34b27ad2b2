"""From a changed target to booked fills: orders and their life, the portfolio, the square-off, and who carries orders out."""
