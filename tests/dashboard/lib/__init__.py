"""What the check of the dashboard is made of."""
