"""The study behind `phr reproduce`: the paper's figures 4 and 5 from nothing."""
