"""Other Django apps that send webhooks, measured the same way as orderhooks: `python -m benchmarks.peers`.

Each peer has a virtual environment, a database and a Django project (`project`) of its own.
"""
