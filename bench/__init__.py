"""What Atoll costs in time, calls and money, measured: `make bench`."""
