"""What a release consists of, made from one commit, and put into a registry: `make release`, docs/release.md."""
