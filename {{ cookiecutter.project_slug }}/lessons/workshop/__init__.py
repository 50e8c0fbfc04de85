"""The workshop: finds the lessons, checks the exercises, and says what is not right yet."""
