"""Sales: deals without activity, and who is told of them."""
