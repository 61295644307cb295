"""The sample shop: a small SQLite database that is the same on every machine.

Two years of trade are played order by order, so the rows agree: stock is the sum of its movements, payments are the
totals of their orders, and who reviews a product has received it. The structure is in shop.sql. This module knows
neither the server nor the clock.
"""

import itertools
import json
import re
import sqlite3
import unicodedata
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from heapq import heappop, heappush
from importlib import resources
from pathlib import Path
from random import Random

#: The values of a row, in the order of the columns in shop.sql without the generated ones.
Row = tuple[str | int | float | bytes | None, ...]
Tables = dict[str, list[Row]]

SEED, ORDERS = 20261116, 520
OPENED, CLOSED = datetime(2024, 11, 16), datetime(2026, 11, 16)

# fmt: off
PARENTS_FIRST = ("countries", "customers", "addresses", "categories", "products", "suppliers", "product_suppliers",
                 "orders", "order_lines", "payments", "reviews", "stock_movements")

#: code, name, in the EU, customers, shipping in cents, delivery in days, calling code, language, street; then the first
#: and second words of full names, and places. Family names are of those that women and men share.
COUNTRIES = (
    ("DE", "Germany", True, 60, 490, 2, 49, "de", "Lindenstraße {}", "Jürgen Käthe Björn Anna Sören Heike Jörg Lea",
     "Müller Groß Schäfer Weiß Köhler Brandt Jäger Voß", ("50667 / Köln", "80331 / München", "01067 / Dresden")),
    ("FR", "France", True, 39, 690, 3, 33, "fr", "{} rue des Érables", "François Chloé Noël Zoé Hélène Luc Anaïs",
     "Lefèvre Béranger Garçon Moreau Crétien Dubois", ("69001 / Lyon", "25000 / Besançon", "30000 / Nîmes")),
    ("GB", "United Kingdom", False, 36, 990, 5, 44, "en", "{} Orchard Lane", "Oliver Siân Harriet Callum Zoë Rhys",
     "O'Neill Whitfield Patel Ashworth Brontë Clarke", ("BS1 4DJ / Bristol", "LS1 3AD / Leeds", "YO1 7HH / York")),
    ("PL", "Poland", True, 33, 690, 3, 48, "pl", "ul. Źródlana {}", "Łukasz Małgorzata Paweł Grażyna Zofia Wojciech",
     "Wójcik Woźniak Król Gołąb Nowak Dąbek", ("30-001 / Kraków", "90-001 / Łódź", "80-001 / Gdańsk")),
    ("SE", "Sweden", True, 32, 890, 4, 46, "sv", "Björkvägen {}", "Åsa Göran Märta Håkan Linnéa Per",
     "Öberg Åström Sjögren Nyström Hallén Lind", ("211 20 / Malmö", "702 10 / Örebro", "903 26 / Umeå")),
    ("GR", "Greece", True, 25, 990, 6, 30, "el", "Οδός Ελιάς {}", "Γιώργος Ελένη Νίκος Σοφία Άννα Πέτρος",
     "Γεωργίου Νικολάου Ιωάννου Οικονόμου Βασιλείου", ("105 57 / Αθήνα", "546 21 / Θεσσαλονίκη", "262 21 / Πάτρα")),
    ("JP", "Japan", False, 15, 2290, 11, 81, "ja", "桜町{}", "佐藤 鈴木 高橋 田中 渡辺 伊藤",
     "花子 太郎 美咲 健 さくら 翔", ("600-8216 / 京都市", "060-0001 / 札幌市", "810-0001 / 福岡市")),
)

#: category, its parent, prefix of the sku, whether it has a colour; variants; things with their price in euro and
#: weight in kg. Every variant of every thing is a product.
RANGES = (
    ("Coffee", "Coffee and tea", "COF", False, ("Ethiopian", "Kenyan", "Colombian", "Sumatran", "Brazilian"),
     (("espresso beans 500 g", 13.5, 0.55), ("filter beans 250 g", 8.9, 0.28), ("decaf beans 250 g", 9.5, 0.28))),
    ("Tea", "Coffee and tea", "TEA", False, ("Assam", "Darjeeling", "Sencha", "Earl Grey", "Rooibos"),
     (("loose tea 100 g", 7.5, 0.15), ("tea bags, 20 pieces", 4.9, 0.08))),
    ("Brewing", "Coffee and tea", "BRW", True, ("Matt", "Polished", "Enamelled"),
     (("French press 1 l", 34, 0.9), ("gooseneck kettle 0.8 l", 59, 1.2), ("hand grinder", 89, 0.8))),
    ("Pots and pans", "Kitchen", "PAN", True, ("Cast iron", "Enamel", "Steel"),
     (("frying pan 28 cm", 64, 2.4), ("saucepan 2 l", 49, 1.7), ("casserole 4 l", 99, 4.3))),
    ("Knives", "Kitchen", "KNI", False, ("Forged", "Damascus", "Carbon steel"),
     (("chef's knife 20 cm", 84, 0.3), ("paring knife 9 cm", 32, 0.1), ("bread knife 25 cm", 58, 0.3))),
    ("Tableware", "Kitchen", "TAB", True, ("Stoneware", "Porcelain", "Terracotta"),
     (("dinner plate", 16, 0.7), ("bowl", 12, 0.5), ("mug", 10.5, 0.4), ("teapot 1 l", 38, 0.9))),
    ("Lamps", "Home", "LAM", True, ("Oak", "Brass", "Paper"),
     (("desk lamp", 79, 1.9), ("floor lamp", 149, 5.2), ("pendant lamp", 119, 2.1))),
    ("Textiles", "Home", "TEX", True, ("Linen", "Wool", "Cotton"),
     (("tablecloth", 45, 0.6), ("throw", 69, 1.1), ("cushion cover", 19, 0.2), ("towel set", 15, 0.3))),
)

#: name, country, whether it still delivers
SUPPLIERS = (
    ("Nordlicht Keramik GmbH", "DE", True), ("Moulin & Fils", "FR", True), ("Huta Świt", "PL", False),
    ("Ashdown Mill Ltd", "GB", True), ("Glasbruket i Småland AB", "SE", True), ("Ελαιώνας ΑΕ", "GR", True),
    ("Harbour Roasters", "GB", True), ("Kupferhof Thal", "DE", False), ("山川刃物", "JP", True),
)
COLOURS = {"black": "1b1b1b", "white": "f4f1ea", "olive": "6b7036", "rust": "a4502a", "sea blue": "2f6f8f"}
GIF = "474946383961 01000100 800000 {} 000000 2c 00000000 01000100 00 02 02 4401 00 3b"  # one pixel, in hexadecimal
VERDICTS = (("Broken after a week",), ("Not what I hoped for",), ("It is all right", "Good enough"),  # one star to five
            ("Good, with small flaws", "Happy with it"), ("Wonderful", "Exactly right", "Très bien !", "Sehr schön"))
REMARKS = ("It was well packed.", "The delivery took longer than promised.", "A gift for my sister.", "My second one.")
NOTES = (None,) * 36 + ("Happy birthday!", "Alles Gute zur Hochzeit", "Bon courage à la cuisine", "Sto lat!")
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    id: int
    cents: int  #: its price; ends in 0, so that a discount of 10 percent leaves whole cents
    reorder_level: int
    appeal: float
    stars: float  #: that it deserves
    lead_time_days: int | None  #: None if it is not bought again


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    id: int
    since: datetime
    loyalty: float
    address_ids: range
    shipping_cents: int
    delivery_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of an order. None: not by closing time."""

    status: str
    paid_at: datetime | None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    undone_at: datetime | None = None  #: when it was cancelled, or came back


@dataclass(frozen=True, slots=True)
class Shelf:
    """The stock of each product as time goes by, and the movements that explain it."""

    movements: list[Row]
    stock: dict[int, int] = field(default_factory=dict)
    coming: list[tuple[datetime, int, int, str, int | None]] = field(default_factory=list)  #: a heap of later moves

    def move(self, at: datetime, product_id: int, quantity: int, reason: str, order_id: int | None = None) -> None:
        self.stock[product_id] = self.stock.get(product_id, 0) + quantity
        self.movements.append((len(self.movements) + 1, product_id, quantity, reason, order_id, str(at)))

    def receive(self, until: datetime) -> None:
        while self.coming and self.coming[0][0] <= until:
            self.move(*heappop(self.coming))

    def reorder(self, at: datetime, product: Product) -> None:
        awaited = any(move[1] == product.id and move[3] == "purchase" for move in self.coming)
        if product.lead_time_days and self.stock[product.id] <= product.reorder_level and not awaited:
            arrival = at + timedelta(days=product.lead_time_days)
            heappush(self.coming, (arrival, product.id, product.reorder_level * 3, "purchase", None))
            if product.lead_time_days > 30:  # what travels far breaks
                heappush(self.coming, (arrival + timedelta(hours=1), product.id, -1, "correction", None))


def create(path: Path) -> None:
    """The shop as a new SQLite database at path: 12 tables and 2 views, filled in one transaction.

    Two runs give the same bytes under one version of SQLite. A run that fails leaves no file behind.

    Raises:
        FileExistsError: there is something at path already; it is left as it was.
    """
    path.touch(exist_ok=False)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            # executescript commits what is open before it starts, so the transaction begins inside it.
            connection.executescript("BEGIN;" + resources.files(__package__).joinpath("shop.sql").read_text("utf-8"))
            for table, rows in _tables(Random(SEED)).items():
                marks = ", ".join("?" for _ in rows[0])
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - a name written here
            connection.execute("COMMIT")
    except BaseException:
        path.unlink()
        raise


def _tables(rng: Random) -> Tables:
    """The rows of every table, parents before children."""
    tables: Tables = {table: [] for table in PARENTS_FIRST}
    shelf = Shelf(movements=tables["stock_movements"])
    _trade(rng, tables, shelf, _offer(rng, tables, shelf), _register(rng, tables))
    for table in ("payments", "reviews"):  # noted as the orders came: without id, and with their own time last
        tables[table] = [(n, *row) for n, row in enumerate(sorted(tables[table], key=lambda row: str(row[-1])), 1)]
    tables["products"] = [(*row[:6], shelf.stock.get(n, 0), *row[6:]) for n, row in enumerate(tables["products"], 1)]
    return tables


def _register(rng: Random, tables: Tables) -> list[Customer]:
    """The customers, oldest account first. Notes countries, customers and addresses."""
    people = []
    for country in COUNTRIES:
        code, name, in_eu, count, cents, days, *_, first_words, second_words, _ = country
        tables["countries"].append((code, name, in_eu, cents / 100, days))
        names = [f"{first} {second}" for first in first_words.split() for second in second_words.split()]
        people += [(rng.randint(-26000000, 61000000), name, country) for name in rng.sample(names, count)]
    customers = []
    for id_, (after_s, name, country) in enumerate(sorted(people), 1):
        since = OPENED + timedelta(seconds=after_s)
        code, _, _, _, cents, days, calling_code, language, street, _, _, places = country
        plain = unicodedata.normalize("NFKD", name.lower().translate({ord("ß"): "ss", ord("ł"): "l"}))
        mailbox = re.sub("[^a-z]+", ".", plain.encode("ascii", "ignore").decode()).strip(".") or "customer"
        contact = (f"{mailbox}{id_}@example.com", rng.choice((None, f"+{calling_code} 555 {rng.randrange(10000):04}")))
        born = rng.choice((None, str(date(1948, 1, 1) + timedelta(days=rng.randrange(21000)))))
        preferences = rng.choice((None, json.dumps({"language": language, "contact": rng.choice(("email", "phone"))})))
        tables["customers"].append((id_, name, *contact, code, born, rng.random() < 0.4, preferences, str(since)))
        first = len(tables["addresses"]) + 1
        for address_id, kind in enumerate(rng.choice((("home",), ("home", "work"), ("home", "pickup"))), first):
            place = (street.format(rng.randint(1, 120)), *rng.choice(places).split(" / "), code)
            tables["addresses"].append((address_id, id_, kind, *place, kind == "home"))
        ids, loyalty = range(first, len(tables["addresses"]) + 1), rng.random() ** 3 + 0.02
        customers.append(
            Customer(id=id_, since=since, loyalty=loyalty, address_ids=ids, shipping_cents=cents, delivery_days=days)
        )
    return customers


def _offer(rng: Random, tables: Tables, shelf: Shelf) -> list[Product]:
    """The products by id; their first delivery is coming to the shelf. Notes what is bought, and from whom."""
    for id_, (name, code, active) in enumerate(SUPPLIERS, 1):
        terms = (rng.choice((None, 3.4, 4.7)), active, rng.choice((None, "2027-06-30")) if active else "2025-09-30")
        tables["suppliers"].append((id_, name, code, f"orders@supplier{id_}.example", *terms))
    parents = list(dict.fromkeys(parent for _, parent, *_ in RANGES))
    tables["categories"] += [(id_, name, None) for id_, name in enumerate(parents, 1)]
    products: list[Product] = []
    for category_id, (category, parent, prefix, coloured, variants, things) in enumerate(RANGES, len(parents) + 1):
        tables["categories"].append((category_id, category, parents.index(parent) + 1))
        for number, (variant, (thing, euro, weight_kg)) in enumerate(itertools.product(variants, things), 1):
            id_, cents = len(products) + 1, int(euro * rng.uniform(1.7, 2.6)) * 50 - 10
            discontinued, level = rng.random() < 0.07, rng.randint(3, 6) if cents > 4000 else rng.randint(6, 14)
            offers = [(n, rng.randint(6, 40)) for n in rng.sample(range(len(SUPPLIERS)), rng.randint(1, 3))]
            for n, lead_time_days in offers:
                euro_each = round(cents * rng.uniform(0.0045, 0.0062), 2)
                tables["product_suppliers"].append((id_, n + 1, euro_each, lead_time_days, n == offers[0][0]))
            lead = offers[0][1] if not discontinued and SUPPLIERS[offers[0][0]][2] else None
            appeal, stars = (0.05 + rng.random() ** 2) * (1 if cents > 4000 else 2), rng.uniform(2.4, 5.2)
            products.append(
                Product(id=id_, cents=cents, reorder_level=level, appeal=appeal, stars=stars, lead_time_days=lead)
            )
            released = OPENED + timedelta(days=rng.randint(-1500, 650))
            heappush(shelf.coming, (max(OPENED, released), id_, level * rng.randint(2, 4), "purchase", None))
            colour = rng.choice(list(COLOURS)) if coloured else None
            tags = rng.sample(("gift", "organic", "fair trade", "limited"), rng.randrange(3))
            attributes = json.dumps({"variant": variant, "tags": tags} | ({"colour": colour} if colour else {}))
            swatch = bytes.fromhex(GIF.format(COLOURS[colour])) if colour else None
            sold_as = (id_, f"{prefix}-{number:03}", f"{variant} {thing}", category_id, cents / 100, weight_kg)
            tables["products"].append((*sold_as, level, discontinued, str(released.date()), attributes, swatch))
    return products


def _trade(rng: Random, tables: Tables, shelf: Shelf, products: list[Product], customers: list[Customer]) -> None:
    """Plays the orders in the order of time: notes them, what was paid and what was said, and empties the shelf."""
    days = [OPENED + timedelta(days=n) for n in range((CLOSED - OPENED).days)]
    crowds = [(1 + n / len(days)) * (2 if day.month >= 11 else 1) for n, day in enumerate(days)]
    moments = sorted(day + timedelta(seconds=rng.randint(25000, 82000)) for day in rng.choices(days, crowds, k=ORDERS))
    reviewed: set[tuple[int, int]] = set()
    for order_id, at in enumerate(moments, 1):
        shelf.receive(at)
        customer = rng.choices(customers, [one.loyalty * (one.since < at) for one in customers])[0]
        method = rng.choices(("card", "wallet", "bank_transfer", "invoice"), (45, 20, 15, 20))[0]
        fate = _fate(rng, at, method, customer.delivery_days)
        pull = [product.appeal * (shelf.stock.get(product.id, 0) > 0) for product in products]
        basket, goods_cents = dict.fromkeys(rng.choices(products, pull, k=rng.choice((1, 1, 2, 2, 3, 4)))), 0
        for line_no, product in enumerate(basket, 1):
            quantity = min(shelf.stock[product.id], rng.choice((1, 1, 2) if product.cents > 4000 else (1, 2, 2, 4)))
            cents = product.cents if at.year == 2026 else int(product.cents * 0.094) * 10
            discount = rng.choices((0, 10, 20), (6, 1, 1) if at.month == 11 else (18, 1, 0))[0]
            goods_cents += quantity * cents * (100 - discount) // 100
            tables["order_lines"].append((order_id, line_no, product.id, quantity, cents / 100, discount))
            if fate.status != "cancelled":
                shelf.move(at, product.id, -quantity, "sale", order_id)
                shelf.reorder(at, product)
            if fate.status == "returned" and fate.undone_at:
                heappush(shelf.coming, (fate.undone_at, product.id, quantity, "return", order_id))
            said_at = _later(rng, fate.delivered_at, 2, 30)
            if said_at and rng.random() < 0.4 and (product.id, customer.id) not in reviewed:
                reviewed.add((product.id, customer.id))
                stars = min(5, max(1, round(product.stars + rng.uniform(-1.4, 1.2))))
                text = (rng.choice(VERDICTS[stars - 1]), rng.choice((None, *REMARKS)), int(rng.random() ** 4 * 20))
                tables["reviews"].append((product.id, customer.id, stars, *text, str(said_at)))
        shipping_cents = 0 if goods_cents >= 8000 else customer.shipping_cents
        whom = (order_id, customer.id, rng.choice(customer.address_ids), fate.status, method)
        shipped = str(fate.shipped_at) if fate.shipped_at else None
        tables["orders"].append((*whom, shipping_cents / 100, rng.choice(NOTES), str(at), shipped))
        euro = (goods_cents + shipping_cents) / 100
        for kind, amount, when in (("payment", euro, fate.paid_at), ("refund", -euro, fate.undone_at)):
            if fate.paid_at and when:
                reference = f"{kind[0].upper()}{order_id:05}-{rng.randrange(16**6):06X}"
                tables["payments"].append((order_id, kind, amount, reference, str(when)))
    shelf.receive(CLOSED)


def _fate(rng: Random, at: datetime, method: str, delivery_days: int) -> Fate:
    at_once = _later(rng, at, 0, 0.01) if method in ("card", "wallet") else None
    if rng.random() < 0.05:
        return Fate(status="cancelled", paid_at=at_once, undone_at=_later(rng, at, 0.5, 2))
    transferred = _later(rng, at, 0.5, 5) if method == "bank_transfer" and rng.random() < 0.9 else None
    paid = at_once or transferred
    shipped = _later(rng, at if method == "invoice" else paid, 0.3, 3)
    delivered = _later(rng, shipped, 0.7 * delivery_days, 1.5 * delivery_days)
    returned = _later(rng, delivered, 3, 14) if rng.random() < 0.05 else None
    if method == "invoice" and not returned and rng.random() < 0.85:
        paid = _later(rng, delivered, 2, 40)
    reached = {"returned": returned, "delivered": delivered, "shipped": shipped, "paid": paid, "open": at}
    status = next(name for name, moment in reached.items() if moment)
    return Fate(status=status, paid_at=paid, shipped_at=shipped, delivered_at=delivered, undone_at=returned)


def _later(rng: Random, moment: datetime | None, least_days: float, most_days: float) -> datetime | None:
    """A whole second so many days after moment; None if there is no moment, or only after closing time."""
    later = moment and (moment + timedelta(days=rng.uniform(least_days, most_days))).replace(microsecond=0)
    return later if later and later < CLOSED else None
