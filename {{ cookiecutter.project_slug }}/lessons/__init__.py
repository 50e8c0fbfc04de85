"""The workshop: the lessons, and the engine that checks them."""
