"""`python -m jaxcluster`."""

from jaxcluster.cli.app import app

app()
