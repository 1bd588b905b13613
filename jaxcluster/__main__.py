"""`python -m jaxcluster`."""

from jaxcluster.cli.app import app

if __name__ == "__main__":
    app()
