"""The same shop with each task queue: real workers of each, in processes of their own."""
