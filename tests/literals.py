"""What values of each PostgreSQL type look like: its literals, as edges that are always tried and as strategies.

Base types by their own names; `made_literals` has the rules for what is made of them. It knows nothing of schema-mcp.
"""

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[str]


@dataclass(frozen=True)
class Generator:
    """`edges`: literals that are always tried. `others`: any literal that the type holds."""

    edges: tuple[str, ...]
    others: Strategy

    def __or__(self, other: "Generator") -> "Generator":
        return Generator(self.edges + other.edges, self.others | other.others)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
HOSTILE = (
    "",
    " ",
    "NULL",
    "null",
    '"',
    "\\",
    "{}",
    "a,b;c",
    "(1,2)",
    "'",
    "\n\r\t",
    "Größe \U0001f600 e\u0301 \u2028",
    "--",
)
WORD = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8)


def integers(low: int, high: int) -> Generator:
    return Generator((str(low), str(high), "0", "1"), st.integers(low, high).map(str))


def floats(width: Any) -> Generator:
    smallest, largest = ("1e-45", "3.4028235e+38") if width == 32 else ("5e-324", "1.7976931348623157e+308")
    edges = ("0", "-0", "0.1", smallest, "-" + largest, "NaN", "Infinity", "-Infinity", "16777216", "1e+15", "1e-07")
    digits = 9 if width == 32 else 17
    return Generator(
        edges, st.floats(width=width, allow_nan=False, allow_infinity=False).map(f"{{:.{digits}g}}".format)
    )


def _points(template: str, count: int) -> Generator:
    """`%s` for each of so many floats. The edges have one float everywhere: only some types take them mixed."""
    edges = ("0", "-0", "0.1", "1e+300", "5e-324", "-1e-307")
    whole = st.lists(
        st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr), min_size=count, max_size=count
    )
    return Generator(
        tuple(template % ((edge,) * count) for edge in edges), whole.map(lambda some: template % tuple(some))
    )


DATE_FIELDS = st.tuples(st.integers(1, 12), st.integers(1, 28))


def date(year: int, month_day: tuple[int, int]) -> str:
    month, day = month_day
    return f"{year:04}-{month:02}-{day:02}" if year > 0 else f"{1 - year:04}-{month:02}-{day:02} BC"


def clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 10**6)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text


DAY = 86_400 * 10**6
TIME = st.integers(0, DAY).map(clock)
OFFSETS = st.integers(-(16 * 3600 - 1), 16 * 3600 - 1).map(
    lambda seconds: ("-" if seconds < 0 else "+") + clock(abs(seconds) * 10**6)
)


def moment(day: str, time: str, offset: str = "") -> str:
    return f"{day.removesuffix(' BC')} {time}{offset}{' BC' if day.endswith(' BC') else ''}"


def _dates(last: int) -> Strategy:
    return st.builds(date, st.integers(-4711, last), DATE_FIELDS)


def _interval(months: int, days: int, microseconds: int) -> str:
    sign = "-" if microseconds < 0 else ""
    return f"{months} mons {days} days {sign}{clock(abs(microseconds))}"


BOTH_WAYS = ("infinity", "-infinity")
INTERVAL = st.builds(
    _interval, st.integers(-(2**31) + 1, 2**31 - 1), st.integers(-(2**31) + 1, 2**31 - 1), st.integers(-(2**62), 2**62)
)
MONEY = st.integers(-(2**63), 2**63 - 1).map(
    lambda cents: f"{'-' if cents < 0 else ''}${abs(cents) // 100}.{abs(cents) % 100:02}"
)
NUMERIC = (
    st.decimals(allow_nan=False, allow_infinity=False)
    .map(lambda number: f"{number:f}")
    .filter(lambda text: len(text) < 300)
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.integers(-999, 999).map(lambda n: n / 8)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


JSON = Generator(
    (
        "null",
        "[null]",
        '"null"',
        '"NULL"',
        "9007199254740992",
        "9007199254740993",
        "12345678901234567890.12345678901234567890",
        "0.30000000000000004",
        '{"a":[1e400]}',
        "1e-400",
        '{"$json":"null"}',
        '{"$json":{"$json":"1"}}',
        '{"$json":1,"b":2}',
        '{"":"9007199254740993, 9007199254740993"}',
        '"\\\\"',
    ),
    JSON_VALUES.map(written),
)
#: What only json keeps: how it was spelled.
SPELLED = Generator(
    ('{"b":1,"a":2,"b":3}', '{"\\u0024json":"x"}', '"\\ud800"', ' {"a" : 1.10,\n"b":1E5}', "-0"), st.nothing()
)

_HOSTS = st.ip_addresses().map(str)


def _network(address: Any, bits: int) -> str:
    import ipaddress

    return str(ipaddress.ip_network((address, bits % (address.max_prefixlen + 1)), strict=False))


def _hex(count: int) -> Strategy:
    return st.binary(min_size=count, max_size=count).map(lambda data: ":".join(f"{byte:02x}" for byte in data))


def _quoted_lexeme(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


LEXEME = TEXT.filter(bool).map(_quoted_lexeme)
TSVECTOR = st.lists(st.tuples(LEXEME, st.sampled_from(["", ":1", ":2B,16383A"])).map("".join), max_size=4).map(" ".join)
TSQUERY = st.recursive(
    st.tuples(LEXEME, st.sampled_from(["", ":*", ":AB", ":*C"])).map("".join),
    lambda inner: (
        st.tuples(inner, st.sampled_from([" & ", " | ", " <-> ", " <7> "]), inner).map(
            lambda some: f"( {''.join(some)} )"
        )
        | inner.map(lambda one: f"!{one}")
    ),
    max_leaves=4,
)
XML_TEXT = st.text(
    st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff<&>"), max_size=8
)
XML = XML_TEXT.map(lambda text: f'<a b="1">{text}<![CDATA[<&]]><c/></a>') | XML_TEXT
HSTORE_TEXT = TEXT.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
HSTORE = st.lists(st.tuples(HSTORE_TEXT, HSTORE_TEXT | st.just("NULL")).map("=>".join), max_size=3).map(", ".join)
PATHS = st.lists(WORD, min_size=1, max_size=4).map(".".join)
SMALL = st.floats(-1000, 1000, width=32).map(lambda number: format(number, ".9g"))
VECTOR = st.lists(SMALL, min_size=1, max_size=4)


def only(*edges: str) -> Generator:
    return Generator(edges, st.sampled_from(edges))


def text_of(max_bytes: int | None = None) -> Generator:
    if max_bytes is None:
        return Generator(HOSTILE, TEXT)
    return Generator(
        tuple(text for text in (*HOSTILE, "n" * max_bytes) if len(text.encode()) <= max_bytes),
        TEXT.filter(lambda text: len(text.encode()) <= max_bytes),
    )


def _isn(prefix: str, suffix: str = "") -> Strategy:
    free = 12 - len(prefix) - len(suffix)

    def complete(number: int) -> str:
        digits = prefix + str(number).zfill(free) + suffix
        total = sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits))
        return digits + str(-total % 10)

    return st.integers(0, 10**free - 1).map(complete)


#: By pg_type.typname: base types, those of extensions too.
GENERATORS: Mapping[str, Generator] = {
    "bool": only("true", "false"),
    "int2": integers(-(2**15), 2**15 - 1),
    "int4": integers(-(2**31), 2**31 - 1),
    "int8": integers(-(2**63), 2**63 - 1) | only("9007199254740991", "9007199254740992", "-9007199254740993"),
    "oid": integers(0, 2**32 - 1),
    "xid": integers(0, 2**32 - 1),
    "cid": integers(0, 2**32 - 1),
    "xid8": integers(0, 2**64 - 1),
    "numeric": Generator(
        (
            "NaN",
            "Infinity",
            "-Infinity",
            "0.00",
            "1.50",
            "-0.1",
            "9" * 40 + "." + "9" * 40,
            "1" + "0" * 2000,
            "0." + "0" * 2000 + "1",
        ),
        NUMERIC,
    ),
    "float4": floats(32),
    "float8": floats(64) | only("0.30000000000000004", "9007199254740992", "1.152921504606847e+18"),
    "money": Generator(("-$92,233,720,368,547,758.08", "$92233720368547758.07", "0", "$0.01", "-0.01"), MONEY),
    "text": text_of(),
    "varchar": text_of(),
    "bpchar": text_of(),
    "citext": text_of(),
    "refcursor": text_of(),
    "name": text_of(63),
    "char": Generator(("", " ", "\\", '"', ",", "{"), st.characters(min_codepoint=1, max_codepoint=127)),
    "bytea": Generator(
        ("\\x", "\\x00", "\\x" + bytes(range(256)).hex()), st.binary(max_size=80).map(lambda data: "\\x" + data.hex())
    ),
    "date": Generator((*BOTH_WAYS, "4713-01-01 BC", "5874897-12-31", "0001-01-01", "0001-12-31 BC"), _dates(5_874_896)),
    "time": Generator(("00:00:00", "24:00:00", "23:59:59.999999", "00:00:00.000001"), TIME),
    "timetz": Generator(
        ("24:00:00-15:59:59", "00:00:00+15:59:59", "10:00:00.5+05:30"), st.builds("{}{}".format, TIME, OFFSETS)
    ),
    "timestamp": Generator(
        (*BOTH_WAYS, "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "0001-12-31 24:00:00 BC"),
        st.builds(moment, _dates(294_275), TIME),
    ),
    "timestamptz": Generator(
        (*BOTH_WAYS, "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "2024-02-29 10:00:00+05:30"),
        st.builds(moment, _dates(294_275), TIME, OFFSETS),
    ),
    "interval": Generator(
        (
            "1 year 2 mons",
            "-1 years -2 mons +3 days -04:05:06.000007",
            "00:00:00",
            "-00:00:00.000001",
            "24:00:00",
            "178000000 years",
            "-2147483648 days",
            "2562047788:00:54.775807",
            "P1Y2M3DT4H5M6.7S",
            "1.5 hours",
            "PT0.000001S",
        ),
        INTERVAL,
    ),
    "uuid": Generator(("00000000-0000-0000-0000-000000000000",), st.uuids().map(str)),
    "json": JSON | SPELLED,
    "jsonb": JSON,
    "jsonpath": only("$", '$.a[*] ? (@.b > 1 && @."c d" == "\\"")', "strict $.a.size()", "$[0 to last]", '$."$json"'),
    "xml": Generator(("<a/>", "", "plain", '<?xml version="1.0"?><a>ä</a>', "<a>\n</a><b/>"), XML),
    "bit": Generator(("0", "1"), st.sampled_from(["0", "1"])),
    "varbit": Generator(("", "0", "1" * 80), st.text("01", max_size=20)),
    "inet": Generator(("10.0.0.1/8", "::1", "::ffff:1.2.3.4/120", "0.0.0.0/0"), _HOSTS),
    "cidr": Generator(
        ("10.0.0.0/8", "::/0", "1.2.3.4/32"), st.builds(_network, st.ip_addresses(), st.integers(0, 128))
    ),
    "macaddr": Generator(("08:00:2b:01:02:03",), _hex(6)),
    "macaddr8": Generator(("08:00:2b:01:02:03:04:05",), _hex(8)),
    "point": _points("(%s,%s)", 2) | only("(NaN,Infinity)", "(-Infinity,-0)"),
    "lseg": _points("[(%s,%s),(%s,%s)]", 4) | only("[(NaN,0),(1,Infinity)]"),
    "box": _points("(%s,%s),(%s,%s)", 4) | only("(Infinity,1),(-Infinity,0)"),
    "path": _points("((%s,%s),(%s,%s))", 4) | _points("[(%s,%s)]", 2),
    "polygon": _points("((%s,%s),(%s,%s),(%s,%s))", 6) | only("((NaN,1))"),
    "circle": Generator(
        ("<(0,-0),0>", "<(1e+300,5e-324),0.1>", "<(0.1,NaN),Infinity>"),
        st.builds("<({},{}),{}>".format, SMALL, SMALL, st.integers(0, 99)),
    ),
    "line": Generator(("{1,0,-0}", "{-1e-300,0.1,1e+300}"), st.builds("{{{},1,{}}}".format, SMALL, SMALL)),
    "tsvector": Generator(("", "'a':1 'b''c':2A"), TSVECTOR),
    "tsquery": Generator(("", "'a' & !'b' | 'c':*AB <-> 'd'"), TSQUERY),
    "pg_lsn": Generator(
        ("0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"),
        st.builds("{:X}/{:X}".format, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    ),
    "tid": Generator(
        ("(0,0)", "(4294967295,65535)"), st.builds("({},{})".format, st.integers(0, 2**32 - 1), st.integers(0, 65535))
    ),
    "pg_snapshot": only("10:20:10,14,15", "1:1:", "1:9223372036854775807:"),
    "txid_snapshot": only("10:20:10,14,15", "1:1:"),
    "int2vector": Generator(
        ("", "1 -2 32767"), st.lists(st.integers(-(2**15), 2**15 - 1).map(str), max_size=4).map(" ".join)
    ),
    "oidvector": Generator(
        ("", "0 4294967295"), st.lists(st.integers(0, 2**32 - 1).map(str), max_size=4).map(" ".join)
    ),
    "aclitem": only("=r/pg_monitor", "pg_monitor=arw*/pg_signal_backend"),
    "regclass": only("pg_class", "-", "4294967295", "information_schema.columns"),
    "regcollation": only('"C"', '"POSIX"', "-"),
    "regconfig": only("simple", "-"),
    "regdictionary": only("simple", "-"),
    "regnamespace": only("pg_catalog", "-"),
    "regoper": only("||/", "0"),
    "regoperator": only("+(integer,integer)", "!!(none,tsquery)", "0"),
    "regproc": only("pg_backend_pid", "-"),
    "regprocedure": only("pg_backend_pid()", "lower(text)", "-"),
    "regrole": only("pg_monitor", "-"),
    "regtype": only("integer", "timestamp with time zone", "text[]", '"char"', "-"),
    "regdatabase": only("template1", "-"),
    # Extensions.
    "hstore": Generator(("", '"a"=>NULL, "b"=>"NULL", "c\\"\\\\"=>""'), HSTORE),
    "ltree": Generator(("", "Top.Science"), PATHS),
    "lquery": only("*.a.*{1,2}", "a|b*.!c@%"),
    "ltxtquery": only("a & b* | !c@"),
    "cube": Generator(
        ("(0)", "(1, 2),(3, 4)", "(-0, 5e-324, 1e+300)"), VECTOR.map(lambda some: f"({', '.join(some)})")
    ),
    "seg": only("1 .. 2", "<3.5", "~4", ">1.50", "1.5 .. 2.500"),
    "query_int": only("1", "1&2", "!1|(2&3)"),
    "ean13": Generator((), _isn("471")),
    "isbn13": Generator((), _isn("978")),
    "isbn": Generator((), _isn("978")),
    "ismn13": Generator((), _isn("9790")),
    "ismn": Generator((), _isn("9790")),
    "issn13": Generator((), _isn("977")),
    "issn": Generator((), _isn("977", "00")),
    "upc": Generator((), _isn("0")),
    "vector": Generator(("[1]", "[0.1,-0,1e-45]"), VECTOR.map(lambda some: f"[{','.join(some)}]")),
    "halfvec": Generator(("[1]", "[0.1,-0,65504]"), VECTOR.map(lambda some: f"[{','.join(some)}]")),
    "sparsevec": only("{}/3", "{1:1.5,3:-2}/5"),
}
#: What a type has more of since a major version.
SINCE: Mapping[int, Mapping[str, Generator]] = {17: {"interval": only(*BOTH_WAYS)}}
#: Domains whose checks take few values of their base type, by name.
DOMAINS: Mapping[str, Generator] = {
    "yes_or_no": only("YES", "NO"),
    "cardinal_number": integers(0, 2**31 - 1),
    "time_stamp": Generator(
        (*BOTH_WAYS, "2024-02-29 10:00:00.12+05:30"),
        st.builds(moment, _dates(294_275), st.just("23:59:59.99"), OFFSETS),
    ),
    "earth": only("(6378168, 0, 0)"),
}
