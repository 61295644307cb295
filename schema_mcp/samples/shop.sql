-- The sample shop: kitchen and household goods, sold to customers in seven countries. Filled by shop.py.
-- SQLite keeps the text of a definition, so a comment inside it is what the schema reader shows as the description
-- of the table, view or column.

CREATE TABLE countries (
    -- countries the shop sells to or buys from
    code CHAR(2) PRIMARY KEY NOT NULL CHECK (length(code) = 2), -- ISO 3166 code such as DE
    name TEXT NOT NULL UNIQUE, -- English name
    in_eu BOOLEAN NOT NULL, -- member of the European Union
    shipping_cost NUMERIC(6,2) NOT NULL CHECK (shipping_cost >= 0), -- euro for one parcel
    delivery_days INTEGER NOT NULL CHECK (delivery_days BETWEEN 1 AND 60) -- usual days from shipping to delivery
);

CREATE TABLE customers (
    -- people who have an account
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL CHECK (name <> ''), -- full name in the order and script of the country
    email TEXT NOT NULL UNIQUE CHECK (email LIKE '%_@_%'),
    phone TEXT, -- with country calling code, null if not given
    country_code CHAR(2) NOT NULL REFERENCES countries (code), -- country of residence
    birth_date DATE, -- null if not given
    newsletter BOOLEAN NOT NULL DEFAULT FALSE, -- has agreed to receive the newsletter
    preferences JSON CHECK (preferences IS NULL OR json_valid(preferences)), -- object with language and contact, null if never set
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP -- when the account was opened, UTC
);

CREATE TABLE addresses (
    -- postal addresses of customers
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    kind TEXT NOT NULL DEFAULT 'home' CHECK (kind IN ('home', 'work', 'pickup')),
    street TEXT NOT NULL, -- street and house number
    postal_code TEXT NOT NULL, -- may begin with a zero
    city TEXT NOT NULL,
    country_code CHAR(2) NOT NULL REFERENCES countries (code),
    is_default BOOLEAN NOT NULL DEFAULT FALSE, -- used unless the customer chooses another, at most one a customer
    UNIQUE (customer_id, id)
);

CREATE TABLE categories (
    -- tree of product categories, products belong to its leaves
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    parent_id INTEGER REFERENCES categories (id) -- null for a top category
);

CREATE TABLE products (
    -- everything that is or was for sale
    id INTEGER PRIMARY KEY,
    sku VARCHAR(12) NOT NULL UNIQUE CHECK (length(sku) <= 12), -- article number such as COF-001
    name TEXT NOT NULL,
    category_id INTEGER NOT NULL REFERENCES categories (id),
    price NUMERIC(10,2) NOT NULL CHECK (price > 0), -- current price in euro, VAT included
    weight_kg REAL NOT NULL CHECK (weight_kg > 0), -- with packaging
    stock INTEGER NOT NULL DEFAULT 0 CHECK (stock >= 0), -- pieces on the shelf, 0 means out of stock
    reorder_level INTEGER NOT NULL DEFAULT 5 CHECK (reorder_level >= 0), -- order more when stock is at or below this
    needs_reorder BOOLEAN GENERATED ALWAYS AS (stock <= reorder_level AND NOT discontinued) VIRTUAL, -- low in stock
    discontinued BOOLEAN NOT NULL DEFAULT FALSE, -- sold off and not bought again
    released_on DATE NOT NULL, -- first day of sale
    attributes JSON NOT NULL DEFAULT '{}' CHECK (json_valid(attributes)), -- object with variant, tags and sometimes colour
    swatch BLOB -- picture of the colour, GIF of one pixel, null if the product has no colour
);

CREATE TABLE suppliers (
    -- companies the shop buys from
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    country_code CHAR(2) NOT NULL REFERENCES countries (code),
    email TEXT NOT NULL CHECK (email LIKE '%_@_%'),
    score REAL CHECK (score BETWEEN 0 AND 5), -- reliability from 0 to 5, null if not judged yet
    active BOOLEAN NOT NULL DEFAULT TRUE, -- false if the supplier no longer delivers
    contract_until DATE -- last day of the contract, null if it is open-ended
);

CREATE TABLE product_suppliers (
    -- which supplier offers which product, and on what terms
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    supplier_id INTEGER NOT NULL REFERENCES suppliers (id),
    purchase_price DECIMAL(10,2) NOT NULL CHECK (purchase_price > 0), -- euro a piece, without VAT
    lead_time_days INTEGER NOT NULL CHECK (lead_time_days > 0), -- days from order to arrival
    preferred BOOLEAN NOT NULL DEFAULT FALSE, -- ordered from first, at most one a product
    PRIMARY KEY (product_id, supplier_id)
) WITHOUT ROWID;

CREATE TABLE orders (
    -- orders by customers, the goods are in order_lines and the sums in the view order_totals
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    address_id INTEGER NOT NULL, -- where it is sent, an address of the same customer
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'shipped', 'delivered', 'returned', 'cancelled')), -- an invoice may be unpaid when delivered
    payment_method TEXT NOT NULL CHECK (payment_method IN ('card', 'wallet', 'bank_transfer', 'invoice')), -- invoice is paid after delivery
    shipping_cost NUMERIC(6,2) NOT NULL DEFAULT 0 CHECK (shipping_cost >= 0), -- euro, 0 if the goods are worth 80 or more
    gift_note TEXT, -- text for the card, null if it is no gift
    ordered_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, -- UTC
    shipped_at DATETIME, -- UTC, null if not shipped
    CHECK (shipped_at >= ordered_at),
    FOREIGN KEY (customer_id, address_id) REFERENCES addresses (customer_id, id)
);

CREATE TABLE order_lines (
    -- products of an order, one line each
    order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    line_no INTEGER NOT NULL CHECK (line_no > 0), -- counts from 1 in each order
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 99),
    unit_price NUMERIC(10,2) NOT NULL CHECK (unit_price >= 0), -- euro on the day of the order, VAT included
    discount_percent INTEGER NOT NULL DEFAULT 0 CHECK (discount_percent BETWEEN 0 AND 50),
    line_total NUMERIC(10,2) GENERATED ALWAYS AS (round(quantity * unit_price * (100 - discount_percent) / 100.0, 2)) STORED, -- euro after discount
    PRIMARY KEY (order_id, line_no),
    UNIQUE (order_id, product_id)
);

CREATE TABLE payments (
    -- money received for orders and paid back
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    kind TEXT NOT NULL DEFAULT 'payment' CHECK (kind IN ('payment', 'refund')),
    amount NUMERIC(10,2) NOT NULL, -- euro, negative for a refund
    reference TEXT NOT NULL UNIQUE, -- number given by the bank
    paid_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, -- UTC
    CHECK (amount <> 0 AND (kind = 'refund') = (amount < 0))
);

CREATE TABLE reviews (
    -- opinions of customers about products they have received
    id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5), -- stars, 5 is best
    title TEXT NOT NULL,
    body TEXT, -- null if only stars and a title were given
    helpful_count INTEGER NOT NULL DEFAULT 0 CHECK (helpful_count >= 0), -- how many readers found it helpful
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, -- UTC
    UNIQUE (product_id, customer_id)
);

CREATE TABLE stock_movements (
    -- every change of stock, its sum over a product is the stock of that product
    id INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL CHECK (quantity <> 0), -- pieces, negative if they left the shelf
    reason TEXT NOT NULL CHECK (reason IN ('purchase', 'sale', 'return', 'correction')), -- correction is breakage or a count
    order_id INTEGER REFERENCES orders (id), -- the order of a sale or return, else null
    moved_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, -- UTC
    CHECK ((reason IN ('sale', 'return')) = (order_id IS NOT NULL))
);

CREATE UNIQUE INDEX addresses_one_default ON addresses (customer_id) WHERE is_default;
CREATE UNIQUE INDEX product_suppliers_one_preferred ON product_suppliers (product_id) WHERE preferred;
CREATE INDEX product_suppliers_by_supplier ON product_suppliers (supplier_id);
CREATE INDEX products_by_category ON products (category_id);
CREATE INDEX orders_by_customer ON orders (customer_id, ordered_at);
CREATE INDEX orders_not_shipped ON orders (ordered_at) WHERE shipped_at IS NULL;
CREATE INDEX order_lines_by_product ON order_lines (product_id);
CREATE INDEX payments_by_order ON payments (order_id);
CREATE INDEX reviews_by_customer ON reviews (customer_id);
CREATE INDEX stock_movements_by_product ON stock_movements (product_id, moved_at);
CREATE INDEX stock_movements_by_order ON stock_movements (order_id) WHERE order_id IS NOT NULL;

-- CAST, here and below, because a bare expression has no type: a filter value would then compare as text.
CREATE VIEW order_totals AS
-- one row an order: its customer and country, the worth of its goods, total with shipping, what was paid and what is
-- still due, in euro. Nothing is due for a returned or cancelled order
SELECT
    orders.id AS order_id,
    orders.customer_id,
    customers.name AS customer_name,
    customers.country_code,
    orders.status,
    orders.payment_method,
    orders.ordered_at,
    CAST(round(goods.total, 2) AS NUMERIC) AS goods_total,
    CAST(round(goods.total + orders.shipping_cost, 2) AS NUMERIC) AS total,
    CAST(round(coalesce(paid.total, 0), 2) AS NUMERIC) AS paid,
    CAST(CASE
        WHEN orders.status IN ('returned', 'cancelled') THEN 0
        ELSE round(goods.total + orders.shipping_cost - coalesce(paid.total, 0), 2)
    END AS NUMERIC) AS due
FROM orders
JOIN customers ON customers.id = orders.customer_id
JOIN (SELECT order_id, sum(line_total) AS total FROM order_lines GROUP BY order_id) AS goods ON goods.order_id = orders.id
LEFT JOIN (SELECT order_id, sum(amount) AS total FROM payments GROUP BY order_id) AS paid ON paid.order_id = orders.id;

CREATE VIEW best_sellers AS
-- one row a product that was sold: pieces and revenue in euro without returned and cancelled orders, and the average
-- of its reviews from 1 to 5, null if it has none
SELECT
    products.id AS product_id,
    products.sku,
    products.name,
    categories.name AS category,
    CAST(sum(order_lines.quantity) AS INTEGER) AS units_sold,
    CAST(round(sum(order_lines.line_total), 2) AS NUMERIC) AS revenue,
    CAST((SELECT round(avg(rating), 2) FROM reviews WHERE product_id = products.id) AS REAL) AS average_rating,
    products.stock
FROM order_lines
JOIN orders ON orders.id = order_lines.order_id AND orders.status NOT IN ('returned', 'cancelled')
JOIN products ON products.id = order_lines.product_id
JOIN categories ON categories.id = products.category_id
GROUP BY products.id;
