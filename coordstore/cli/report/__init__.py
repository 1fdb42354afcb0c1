"""`coord report`: what became of a session, as text, as a document, and as one page that needs nothing but itself."""

__all__: list[str] = []
