"""One module for each group of endpoints; its function is given what the routes need, and makes their router."""
