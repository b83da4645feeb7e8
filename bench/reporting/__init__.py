"""What `bench.report` is made of, from a measurement to a page.

scenarios.py     the table of all scenarios: how each is measured, judged and shown
targets.py       what is asked of the figures, and whether they reach it
results.py       what was measured, as a file
page.py          results as Markdown, for the report and for the README
plots.py         results as pictures
"""
