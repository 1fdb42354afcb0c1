"""The `coord` command; `coordstore.cli.main` is the place to begin."""

__all__: list[str] = []
