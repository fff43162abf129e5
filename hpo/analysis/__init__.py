"""What a study shows: each analysis is a table first, then a figure of it; and the report of all.

`hpo.analysis.report.write_report` writes the page. Every other module is one analysis: a function
from `StudyRecord` to a DataFrame, a function from the DataFrame to a plotly figure where there is
one, and the sentences that go with it.
"""
