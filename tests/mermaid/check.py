"""`make mermaid`: hundreds of schemas with hostile names, drawn by the program and read by Mermaid's own parser.

It runs where npm is; the parser is installed into a folder of its own, in the versions of `package-lock.json`.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from schema_mcp.schema.mermaid import as_mermaid
from schema_mcp.schema.model import Column, ForeignKey, Key, Schema, Table, TableKind, TableName
from schema_mcp.schema.types import SqlType, TypeKind

HERE = Path(__file__).parent
SCHEMAS = 300
LIMIT_S = 120

WORDS = """
    accDescr accTitle accDescription class classDef default direction end erDiagram linkStyle many more o of one only
    optionally or style subgraph title to u zero TB LR BT RL graph flowchart click call href pk fk uk PK Fk int
    constructor __proto__ toString hasOwnProperty length prototype null undefined NaN x_ _ __ a A ab
""".split()  # noqa: SIM905 - a list would be thirty lines
PIECES = [
    '"', "'", "`", " ", "\t", "\n", "\r", "\\", "/", "%", "%%", "%%{init: {}}%%", "{", "}", "[", "]", "(", ")", "|",
    "||", "--", "---", "..", "o{", ":", ";", ",", ".", "#", "#quot;", "#35;", "&", "&amp;", "<b>",
    "<br/>", "</script>", "$",
    "é", "ß", "Ω", "名", "😀", "👩\u200d👧", "\u200b", "\u202e", "\ufeff", "\x1b", "\x7f", "\u2028", "1", "99", "-",
    "_", "*", "~", "style:#a;", "classDef a:#b;",
]  # fmt: skip
TYPES = ["integer", "numeric(10,2)", "character varying(20)", "timestamp(3) with time zone", "text[]", '"odd".type', ""]


def main() -> int:
    """Exit status: 0 if Mermaid reads of every schema what is in it, 1 if not, 0 where there is no npm."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        print("mermaid: npm is not here, so diagrams are not checked with Mermaid's own parser")
        return 0
    schemas = [_schema(random.Random(seed)) for seed in range(SCHEMAS)]
    with tempfile.TemporaryDirectory(prefix="schema-mcp-mermaid-") as folder:
        for name in ("package.json", "package-lock.json", "parse.mjs"):
            shutil.copy(HERE / name, folder)
        install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        try:
            subprocess.run(install, cwd=folder, check=True, timeout=LIMIT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"mermaid: npm could not install the parser ({error}), so diagrams are not checked with it")
            return 0
        done = subprocess.run(
            [node, "parse.mjs"],
            cwd=folder,
            input=json.dumps([as_mermaid(schema) for schema in schemas]).encode(),
            capture_output=True,
            check=True,
            timeout=LIMIT_S,
        )
    wrong = 0
    for seed, (schema, found) in enumerate(zip(schemas, json.loads(done.stdout), strict=True)):
        if found != _expected(schema):
            wrong += 1
            print(f"mermaid: schema {seed} is read as {found}\n{as_mermaid(schema)}", file=sys.stderr)
    print(f"mermaid: {SCHEMAS - wrong} of {SCHEMAS} diagrams are read as they were meant")
    return 1 if wrong else 0


def _schema(chance: random.Random) -> Schema:
    def name() -> str:
        if chance.random() < 0.4:
            return chance.choice(WORDS)
        text = "".join(chance.choice([*PIECES, *WORDS]) for _ in range(chance.randint(1, 8)))
        return text.encode()[:63].decode(errors="ignore") or "x"

    def table(table_name: TableName) -> Table:
        names = list(dict.fromkeys(name() for _ in range(chance.randint(0, 6))))
        columns = tuple(
            Column(
                name=column,
                position=position,
                type=SqlType(kind=TypeKind.OTHER, native=chance.choice([*TYPES, *WORDS])),
                nullable=chance.random() < 0.5,
            )
            for position, column in enumerate(names, start=1)
        )
        keys = tuple(tuple(names[: chance.randint(1, len(names))]) for _ in range(chance.randint(0, 2)) if names)
        return Table(
            name=table_name,
            kind=TableKind.TABLE,
            columns=columns,
            primary_key=Key(name=None, columns=keys[0]) if keys else None,
            uniques=tuple(Key(name=None, columns=key) for key in keys[1:]),
            foreign_keys=tuple(
                ForeignKey(name=None, columns=key, target=chance.choice(targets), target_columns=key) for key in keys
            ),
        )

    schemas = ["public", "public", name()]
    targets = [
        TableName(source="main", schema=chance.choice(schemas), name=name()) for _ in range(chance.randint(1, 8))
    ]
    return Schema(
        source="main",
        dialect="postgresql",
        default_schema="public",
        tables={table_name: table(table_name) for table_name in targets[: chance.randint(1, len(targets))]},
    )


def _expected(schema: Schema) -> dict[str, Any]:
    """Entities by what is shown of them, columns by their names; control characters as their codes."""
    tables = schema.tables.values()
    return {
        "entities": [
            {
                "label": _shown(
                    table.name.name
                    if table.name.schema == schema.default_schema
                    else f"{table.name.schema}.{table.name.name}"
                ),
                "columns": [_shown(column.name) for column in table.columns],
            }
            for table in tables
        ],
        "relationships": [
            _shown(", ".join(key.columns))
            for table in tables
            for key in table.foreign_keys
            if key.target in schema.tables
        ],
    }


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


if __name__ == "__main__":
    sys.exit(main())
