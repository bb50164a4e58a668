"""Tasks on text, and their data: characters, preferences between answers, translation."""
