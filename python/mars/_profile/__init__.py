"""What the tasks of the process did while somebody wanted to know: `mars.profile`."""
