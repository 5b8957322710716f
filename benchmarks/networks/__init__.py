"""The benchmarked networks, in every framework."""
