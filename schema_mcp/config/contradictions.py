"""Keys that are right each by itself and do not go together. Pure."""

from schema_mcp.config.model import Settings

#: Keys of a database, and of `[access]`, by which something is kept from callers. A caller's own SQL would get round
#: them: the database knows nothing of them, and no reading of the statement's text could hold them.
KEPT_FROM_CALLERS = ("include", "exclude", "hide_columns", "mask_columns")


def contradictions(settings: Settings) -> list[str]:
    """One line for each, beginning with the key that has to change."""
    if settings.access.sql == "off":
        return []
    found = []
    if settings.access.sql == "write" and settings.access.mode != "write":
        found.append(
            f'access.sql: "write" needs access.mode = "write", which is "{settings.access.mode}"; or take "read"'
        )
    kept = [
        f"sources.{source.name}.{key}" if settings.sources else f"database.{key}"
        for source in settings.served
        for key in KEPT_FROM_CALLERS
        if getattr(source, key)
    ]
    if settings.access.rules:
        kept.append("access.rules")
    found += [
        f"access.sql: SQL of a caller's own reads whatever the role may read, so {key} cannot be kept: "
        f"remove {key} and grant the role no more than may be read, or leave access.sql off"
        for key in kept
    ]
    return found
