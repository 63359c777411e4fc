from tests.lab.cli import app

app()
