"""Whole answers from tables: a Bayes factor, members, King profiles."""
