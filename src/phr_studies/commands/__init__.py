"""What `phr_studies` adds to the command line."""
