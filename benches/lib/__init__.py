"""What the benchmark scripts share: processes, servers, load, statistics. Standard library only."""
