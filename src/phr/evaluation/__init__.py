"""Episodes and steps become records; the time bound; statistics."""
