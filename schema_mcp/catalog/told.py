"""Changes of the schema as callers may be told of them: without a word about what the policy hides. Pure."""

from dataclasses import replace

from schema_mcp.schema.diff import SchemaDiff
from schema_mcp.schema.model import Table, TableName
from schema_mcp.schema.tokens import names_in, tokens
from schema_mcp.security.policy import Policy
from schema_mcp.state.records import Change, ChangeKind


def told_difference(policy: Policy, found: SchemaDiff) -> SchemaDiff:
    """Of the tables that are served, and in what is served of them."""
    if not policy.rules:
        return found
    added = [table for table in found.added if policy.served(table) is not None]
    removed = [table for table in found.removed if policy.served(table) is not None]
    changed: list[tuple[Table, Table]] = []
    for before, after in found.changed:
        match policy.served(before), policy.served(after):
            case None, None:
                continue
            case None, _:
                added.append(after)
            case _, None:
                removed.append(before)
            case old, new if old != new:
                changed.append((before, after))
    return replace(found, added=tuple(added), removed=tuple(removed), changed=tuple(changed))


def told_change(policy: Policy, change: Change) -> Change | None:
    """One of the history, without the sentences that name what is hidden; None if nothing is left to tell."""
    if not policy.rules:
        return change
    if not policy.serves(change.table):
        return None
    sentences = tuple(sentence for sentence in change.sentences if not _names_hidden(policy, change.table, sentence))
    if sentences == change.sentences:
        return change
    if change.kind is ChangeKind.ADDED:
        # One sentence with all the columns.
        sentences = (f"{change.sentences[0].partition(' added with ')[0]} added",)
    return replace(change, sentences=sentences) if sentences else None


def _names_hidden(policy: Policy, table: TableName, sentence: str) -> bool:
    """Sentences name columns as they are and tables as `schema.table`, quoted where they are no plain words."""
    if any(policy.hides(table, name) for name in names_in(sentence)):
        return True
    words = [token for token in tokens(sentence) if token.kind in ("word", "name") or token.text == "."]
    qualified = zip(words, words[1:], words[2:], strict=False)
    return any(
        dot.text == "." and not policy.serves(TableName(source=table.source, schema=schema.text, name=name.text))
        for schema, dot, name in qualified
    )
