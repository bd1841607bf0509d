"""Reading with trained networks: recognizer, metrics, report, image grids."""
