"""An app of order models as other stores have them: see `models`, and `sources` for what describes them."""
