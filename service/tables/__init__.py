"""Tables in and out, one module for each form: what all have in common, then JSON, CSV, Arrow."""
