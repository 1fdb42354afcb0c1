"""`coord metrics`: numbers of a store and its sessions, for Prometheus."""

__all__: list[str] = []
