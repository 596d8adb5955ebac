"""What benches/peers.py consists of: the products, their configs, the cells, loads, and the table."""
