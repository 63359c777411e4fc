from release.cli import app

app()
